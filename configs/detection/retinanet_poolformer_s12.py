r"""RetinaNet with PoolFormer-S12 on COCO. Reported: 36.2 box AP.

    python main.py --config=configs/detection/retinanet_poolformer_s12.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/poolformer_s12.sail_in1k

The authors' config, which follows PVT's (1x), and their repository's figures.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.pvt("retinanet", "poolformer_s12"), arg)
