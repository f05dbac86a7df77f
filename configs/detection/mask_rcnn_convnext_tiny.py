r"""Mask R-CNN with ConvNeXt-T on COCO. Reported: 46.2 box AP, 41.7 mask AP.

    python main.py --config=configs/detection/mask_rcnn_convnext_tiny.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/convnext_tiny.fb_in1k

The row of ConvNeXt's Table 3 (262 G MACs; 48 M parameters) by the authors' config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "mask_rcnn", "convnext_tiny", lr=1e-4, layer_decay=0.95, drop_path_rate=0.4
    )
    return default.finish(config, arg)
