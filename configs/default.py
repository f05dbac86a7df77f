"""The config keys that all tasks share, each with its default, unit and meaning.

`configs/tasks/` declares what each task adds; no other file may add a key. The short files beside
this one are settings over a task's. A run is described by one of them and by overrides on the
command line (`--config.optim.lr=1e-3`). `None` means unset.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict, config_dict

from inceptionnext_jax import model_info

Variant = Callable[[ConfigDict], None]


def optional(kind: type) -> Any:
    """Declares a key of a `kind` that is unset (None) by default."""
    return config_dict.placeholder(kind)


def get_config(arg: str = "", task: str = "classification") -> ConfigDict:
    """Returns a task's defaults."""
    return finish(_module(task).get_config(), arg)


def shared(task: str) -> ConfigDict:
    """Returns the keys that all tasks share: the recipe of InceptionNeXt-T (supplement, Table 1).

    task: The name of the module in `configs/tasks/` that adds its own.
    """
    config = ConfigDict()
    config.seed = 42
    config.task = task  # classification | segmentation | detection
    config.batch_size = 4096  # images of an optimizer step, over all devices
    config.total_epochs = 300.0  # without schedule.cooldown_epochs, which follow
    config.total_steps = 0  # > 0: replaces total_epochs and cooldown_epochs
    config.compute_dtype = "float32"  # float32 | bfloat16 | float64
    config.model = _model()
    # workdir, step, weight file or hf://owner/name. A workdir is its newest step and, where there
    # are any, its averages; WORKDIR:best, :newest, :params, :ema or :best,params choose
    config.init_from = optional(str)
    config.optim = _optim()
    config.ema_decay = optional(float)  # e.g. 0.9999: average weights and BatchNorm statistics too
    config.schedule = _schedule()
    _housekeeping(config)
    return config


def _module(task: str) -> ModuleType:
    """Returns the module that declares a task's own keys and its part of the small variants."""
    return importlib.import_module(f"configs.tasks.{task}")


def _model() -> ConfigDict:
    model = ConfigDict()
    model.name = "inceptionnext_tiny"
    model.num_classes = optional(int)  # None: as many as the data has
    model.drop_path_rate = 0.1  # of the last block; the first block's is 0, linear in between
    model.dropout_rate = 0.0  # before the classifier
    model.bn_group_size = 128  # images that share BatchNorm statistics; 0: the whole batch
    model.stage_depths = optional(tuple)  # e.g. (2, 2, 6, 2); None: the model's own
    # Recompute in the backward pass, for less memory and more time: False | True (whole blocks) |
    # full (the same) | dots (all but linear layers) | mixer (all but the token mixer)
    model.remat = config_dict.FieldReference(False, field_type=object)
    model.scan = False  # one compiled block a stage, parameters stacked: compiles faster
    model.depthwise_impl = "auto"  # auto | conv | shift | shift_dot | toeplitz
    model.output_stride = 32  # of the last map, below 32 by dilation: 8 | 16 | 32
    model.head_init_scale = 1.0  # factor of the classifier's first weights
    # The keys below change one thing in a named model; None: its own.
    # attention | depthwise | identity | inception | partial_depthwise | pool
    model.token_mixer = optional(str)
    model.kernel_size = optional(int)  # of the token mixer, odd
    model.mixer_ratio = optional(float)  # share of channels in each of the mixer's convolutions
    model.norm = optional(str)  # batch | layer
    model.head = optional(str)  # linear | mlp
    model.layer_scale_init = optional(float)  # first value of blocks' gamma; 0: no layer scale
    model.width = optional(float)  # VanillaNet only: factor of all channels
    model.act_num = optional(int)  # VanillaNet only: positions that activations see on each side
    return model


def _optim() -> ConfigDict:
    optim = ConfigDict()
    optim.name = "adamw"  # adamw | lamb | sgd (Nesterov)
    optim.lr = 4e-3  # peak, for lr_batch_size images
    optim.lr_batch_size = 4096  # lr scales linearly from here; 0: no scaling
    optim.weight_decay = 0.05  # on kernels only; decoupled except for sgd
    optim.b1 = 0.9  # adamw and lamb only, as are b2 and eps
    optim.b2 = 0.999
    optim.eps = 1e-8
    optim.momentum = 0.9  # sgd only
    optim.clip_norm = optional(float)  # global gradient norm
    optim.accumulate = 1  # micro-batches of an optimizer step
    optim.freeze = ""  # regex: matching parameters keep their values
    optim.lr_mult = ()  # ((regex, factor), ...): the first match counts
    optim.layer_decay = optional(float)  # e.g. 0.8: each layer's rate over that of the layer above
    # Layers of layer_decay: block (the model's own) | stage | triple (ConvNeXt's, in its recipes of
    # segmentation and of detection: a stage; three blocks of the third stage, or another stage) |
    # pair (VanillaNet's, in its recipe of detection: two layers)
    optim.layer_groups = "block"
    return optim


def _schedule() -> ConfigDict:
    schedule = ConfigDict()
    schedule.name = "cosine"  # cosine | constant | poly | step
    schedule.warmup_epochs = 20.0
    schedule.warmup_steps = optional(int)  # None: warmup_epochs count instead
    schedule.warmup_lr = 1e-6
    schedule.warmup_factor = optional(float)  # of the peak rate, instead of warmup_lr
    # poly and step only: the warm-up scales the curve or lies before it: scaled | before
    schedule.warmup = "scaled"
    schedule.min_lr = 1e-5  # final rate of cosine and poly
    schedule.cooldown_epochs = 10.0  # at the last rate, after total_epochs
    schedule.per = "epoch"  # the rate changes every: epoch | step
    schedule.power = 1.0  # poly only
    schedule.decay_epochs = ()  # step only: when the rate falls, e.g. (27, 33)
    schedule.decay_rate = 0.1  # step only: the factor by which it falls
    # VanillaNet only: epochs over which the activations' slope rises from 0 to 1, constant within
    # each; 0: the weights' own slope, which is 1 in new ones.
    schedule.slope_epochs = 0.0
    schedule.slope_name = "linear"  # linear | cosine
    return schedule


def _housekeeping(config: ConfigDict) -> None:
    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000  # and before each evaluation; 0: only then and at the end
    config.checkpoint.asynchronous = True  # train on while the disk is written to
    config.checkpoint.keep_latest = 2
    config.checkpoint.keep_best = 1
    config.checkpoint.best_metric = ""  # of the task; eval_ema/… with ema_decay
    config.eval = ConfigDict()
    config.eval.every_steps = 1000  # 0: only at the end
    config.stop = ConfigDict()
    config.stop.patience = optional(int)  # evaluations without a better best_metric
    config.log = ConfigDict()
    config.log.every_steps = 50
    config.log.tensorboard = True
    config.log.wandb = False
    config.profile = ConfigDict()
    config.profile.start = 10  # first profiled step
    config.profile.steps = 0  # 0: no profile
    config.on_nan = "stop"  # stop | skip (leave the update out and continue)
    config.skip_limit = 10  # on_nan=skip: more skipped updates in a row stop the run
    config.debug_nans = False  # find the operation that made a NaN (slow)
    config.compilation_cache = "~/.cache/inceptionnext_jax/xla"  # "": off
    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: all devices over mesh.fsdp
    config.mesh.fsdp = 1  # devices that share one copy of the parameters


class UnknownVariantError(ValueError):
    """A config file lacks the variant; `known` are those that it has."""

    known: Sequence[str] = ()


def finish(
    config: ConfigDict, arg: str, variants: Mapping[str, Variant] | None = None
) -> ConfigDict:
    """Applies the variants after the colon (`configs/tiny.py:debug`), separated by commas."""
    shrinking = {"digits": digits, "debug": debug}
    known = {**(variants or {}), **shrinking}
    names = list(filter(None, arg.split(",")))
    for name in names:
        if name not in known:
            error = UnknownVariantError(
                f"unknown config variant {name!r}; expected one of {sorted(known)}"
            )
            error.known = sorted(known)
            raise error
    # These two shrink what the other variants made, so they come last.
    for name in [name for name in names if name not in shrinking]:
        known[name](config)
    for name in [name for name in shrinking if name in names]:
        known[name](config)
    return config


def same_as_paper(config: ConfigDict) -> None:
    """The variant `script` of a row whose script and paper agree."""


def digits(config: ConfigDict) -> None:
    """Trains a shallow net of the same kind on scikit-learn's handwritten digits, in minutes.

    Model, optimizer, loss and average keep their names; what ImageNet needs and digits do not
    (augmentation, drop path, long schedules) is left out.
    """
    depths = model_info(config.model.name).stage_depths
    config.model.stage_depths = tuple(2 if depth == max(depths) else 1 for depth in depths)
    config.model.num_classes = None
    config.model.drop_path_rate = 0.0
    config.model.bn_group_size = 0
    config.batch_size = config.optim.lr_batch_size = 128
    config.total_epochs = 30.0
    config.optim.lr = 2e-3
    config.schedule.warmup_epochs = 2.0
    config.schedule.cooldown_epochs = 0.0
    config.schedule.slope_epochs = min(config.schedule.slope_epochs, 10.0)
    config.schedule.per = "step"
    if config.ema_decay is not None:
        config.ema_decay = 0.98  # of 330 steps
    config.log.every_steps = 11  # an epoch
    config.checkpoint.every_steps = config.eval.every_steps = 55
    _module(config.task).digits(config)


def debug(config: ConfigDict) -> None:
    """Runs two steps on synthetic images, everything small, to show that a config works."""
    config.total_steps = 2
    config.batch_size = 8
    config.model.stage_depths = tuple(1 for _ in model_info(config.model.name).stage_depths)
    config.model.bn_group_size = min(config.model.bn_group_size, 8)
    config.log.every_steps = 1
    config.checkpoint.every_steps = 0
    config.eval.every_steps = 0
    _module(config.task).debug(config)
