r"""Mask R-CNN with ResNet-50 on COCO. Reported: 38.2 box AP, 34.7 mask AP.

    python main.py --config=configs/detection/mask_rcnn_resnet50.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/resnet50.tv_in1k

mmdetection's own config (1x) and figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.mmdetection_resnet("mask_rcnn", "resnet50"), arg)
