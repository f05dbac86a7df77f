r"""Cascade Mask R-CNN with Swin-L on COCO. Reported: 53.9 box AP, 46.7 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_swin_large.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/swin_large_patch4_window7_224.ms_in22k

The row of ConvNeXt's Table 3 (1,382 G MACs), from weights of ImageNet-22K. The config is not
published: it is Swin's (3x) here, with the rate of drop path that Swin-B has there.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin("cascade_mask_rcnn", "swin_large", drop_path_rate=0.3), arg)
