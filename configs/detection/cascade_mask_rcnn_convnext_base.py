r"""Cascade Mask R-CNN with ConvNeXt-B on COCO. Reported: 52.7 box AP, 45.6 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_convnext_base.py \
        --workdir=/ckpt --config.data.dir=coco \
        --config.init_from=hf://timm/convnext_base.fb_in1k

The row of ConvNeXt's Table 3 (964 G MACs; 146 M parameters) by the authors' config (3x).

Variant `:22k`, from --config.init_from=hf://timm/convnext_base.fb_in22k; reported 54.0 box AP,
46.9 mask AP.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "cascade_mask_rcnn", "convnext_base", lr=2e-4, layer_decay=0.8, drop_path_rate=0.7
    )
    return default.finish(config, arg, {"22k": _from_22k})


def _from_22k(config):
    config.optim.lr = 1e-4
    config.model.drop_path_rate = 0.6
