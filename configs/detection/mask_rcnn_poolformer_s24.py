r"""Mask R-CNN with PoolFormer-S24 on COCO. Reported: 40.1 box AP, 37.0 mask AP.

    python main.py --config=configs/detection/mask_rcnn_poolformer_s24.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/poolformer_s24.sail_in1k

The authors' config, which follows PVT's (1x), and their repository's figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.pvt("mask_rcnn", "poolformer_s24"), arg)
