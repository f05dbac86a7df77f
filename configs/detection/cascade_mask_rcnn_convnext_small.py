r"""Cascade Mask R-CNN with ConvNeXt-S on COCO. Reported: 51.9 box AP, 45.0 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_convnext_small.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/convnext_small.fb_in1k

The row of ConvNeXt's Table 3 (827 G MACs; 108 M parameters) by the authors' config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "cascade_mask_rcnn", "convnext_small", lr=2e-4, layer_decay=0.7, drop_path_rate=0.6
    )
    return default.finish(config, arg)
