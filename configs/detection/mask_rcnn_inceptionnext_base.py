r"""Mask R-CNN with InceptionNeXt-B on COCO. No figures are published.

    python main.py --config=configs/detection/mask_rcnn_inceptionnext_base.py --workdir=/ckpt \
        --config.data.dir=coco --config.init_from=hf://timm/inception_next_base.sail_in1k

The paper has no results on COCO. The recipe is our choice: PVT's and PoolFormer's (1x), which the
paper follows for Semantic FPN, with the rate of drop path that it has there.
"""

from configs import default
from configs.detection import recipe_1x


def get_config(arg=""):
    return default.finish(recipe_1x.pvt("mask_rcnn", "inceptionnext_base", drop_path_rate=0.2), arg)
