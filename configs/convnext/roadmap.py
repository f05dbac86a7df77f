"""The roadmap from ResNet-50 to ConvNeXt-T (ConvNeXt, section 2), one variant per step.

    python main.py --config=configs/convnext/roadmap.py:step_05 --workdir=/ckpt

Reported top-1 of step_01 to step_13: 78.8, 79.4, 79.5, 78.3, 80.5, 80.6, 79.9, 80.6, 80.6, 81.3,
81.4, 81.5, 82.0 %. The recipe is ConvNeXt-T's without averaged weights. step_13 has no layer scale;
with it and averages it is configs/convnext/tiny.py, 82.1 %. Step 0 (76.1 %) is ResNet-50 by its
own recipe of 2015 and has no variant. Without a variant it is step_01: ResNet-50, this recipe.
"""

import functools

from configs import default
from configs.convnext import recipe
from inceptionnext_jax import list_models


def get_config(arg=""):
    steps = {f"step_{name.split('_')[1]}": name for name in list_models("roadmap_*")}
    del steps["step_00"]
    config = recipe.scratch(steps["step_01"], drop_path_rate=0.1)
    config.ema_decay = None
    config.checkpoint.best_metric = "eval/top1"
    variants = {step: functools.partial(change, name) for step, name in steps.items()}
    return default.finish(config, arg, variants)


def change(name, config):
    config.model.name = name
    if name.endswith("convnext_tiny"):
        config.model.layer_scale_init = 0.0
