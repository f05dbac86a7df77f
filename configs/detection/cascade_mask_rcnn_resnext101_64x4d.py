r"""Cascade Mask R-CNN with X101-64 on COCO. Reported: 48.3 box AP, 41.7 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_resnext101_64x4d.py \
        --workdir=/ckpt --config.data.dir=coco \
        --config.init_from=hf://timm/resnext101_64x4d.gluon_in1k

The row of ConvNeXt's Table 3 (972 G MACs; 140 M parameters), which quotes Swin's paper: its recipe
(3x) for another backbone, whose config is not published. Frozen layers and the weights to start
from are our choice, by mmdetection's defaults for ResNets.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin_resnet("cascade_mask_rcnn", "resnext101_64x4d"), arg)
