r"""RetinaNet with PoolFormer-S24 on COCO. Reported: 38.9 box AP.

    python main.py --config=configs/detection/retinanet_poolformer_s24.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/poolformer_s24.sail_in1k

The authors' config, which follows PVT's (1x), and their repository's figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.pvt("retinanet", "poolformer_s24"), arg)
