r"""Cascade Mask R-CNN with Swin-T on COCO. Reported: 50.4 box AP, 43.7 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_swin_tiny.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/swin_tiny_patch4_window7_224.ms_in1k

The row of ConvNeXt's Table 3 (745 G MACs; 86 M parameters) by Swin's config (3x).
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin("cascade_mask_rcnn", "swin_tiny", drop_path_rate=0.2), arg)
