r"""Cascade Mask R-CNN with Swin-S on COCO. Reported: 51.9 box AP, 45.0 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_swin_small.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/swin_small_patch4_window7_224.ms_in1k

The row of ConvNeXt's Table 3 (838 G MACs; 107 M parameters) by Swin's config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin("cascade_mask_rcnn", "swin_small", drop_path_rate=0.2), arg)
