r"""Cascade Mask R-CNN with ResNet-50 on COCO. Reported: 46.3 box AP, 40.1 mask AP.

    python main.py --config=configs/detection/cascade_mask_rcnn_resnet50.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/resnet50.tv_in1k

The row of ConvNeXt's Table 3 (739 G MACs; 82 M parameters), which quotes Swin's paper: its recipe
(3x) for another backbone, whose config is not published. Frozen layers and the weights to start
from are our choice, by mmdetection's defaults for ResNets.
"""

from configs import default
from configs.detection import recipe


def get_config(arg=""):
    return default.finish(recipe.swin_resnet("cascade_mask_rcnn", "resnet50"), arg)
