r"""Mask R-CNN with PoolFormer-S36 on COCO. Reported: 41.0 box AP, 37.7 mask AP.

    python main.py --config=configs/detection/mask_rcnn_poolformer_s36.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/poolformer_s36.sail_in1k

The authors' config, which follows PVT's (1x), and their repository's figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.pvt("mask_rcnn", "poolformer_s36"), arg)
