r"""RetinaNet with ResNet-50 on COCO. Reported: 36.5 box AP.

    python main.py --config=configs/detection/retinanet_resnet50.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/resnet50.tv_in1k

mmdetection's own config (1x) and figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.mmdetection_resnet("retinanet", "resnet50"), arg)
