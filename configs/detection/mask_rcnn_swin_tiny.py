r"""Mask R-CNN with Swin-T on COCO. Reported: 46.0 box AP, 41.6 mask AP.

    python main.py --config=configs/detection/mask_rcnn_swin_tiny.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/swin_tiny_patch4_window7_224.ms_in1k

The row of ConvNeXt's Table 3 (267 G MACs; 48 M parameters) by Swin's config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin("mask_rcnn", "swin_tiny", drop_path_rate=0.2), arg)
