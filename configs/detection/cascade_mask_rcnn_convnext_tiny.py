r"""Cascade Mask R-CNN with ConvNeXt-T on COCO. Reported: 50.4 box AP, 43.7 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_convnext_tiny.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/convnext_tiny.fb_in1k

The row of ConvNeXt's Table 3 (741 G MACs; 86 M parameters) by the authors' config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    config = recipe.convnext(
        "cascade_mask_rcnn", "convnext_tiny", lr=2e-4, layer_decay=0.7, drop_path_rate=0.4
    )
    return default.finish(config, arg)
