r"""Cascade Mask R-CNN with X101-32 on COCO. Reported: 48.1 box AP, 41.6 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_resnext101_32x4d.py \
        --workdir=/ckpt --config.data.dir=coco \
        --config.init_from=hf://timm/resnext101_32x4d.gluon_in1k

The row of ConvNeXt's Table 3 (819 G MACs; 101 M parameters), which quotes Swin's paper: its recipe
(3x) for another backbone, whose config is not published. Frozen layers and the weights to start
from are our choice, by mmdetection's defaults for ResNets.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin_resnet("cascade_mask_rcnn", "resnext101_32x4d"), arg)
