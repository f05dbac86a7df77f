r"""Semantic FPN with InceptionNeXt-S on ADE20K (Table 6). Reported: 45.6 % mIoU, 50 M, 65 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_inceptionnext_small.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/inception_next_small.sail_in1k

The paper follows PVT's and PoolFormer's configs, which evaluate one view; the rate of drop path
is the supplement's (Table 2).
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt("inceptionnext_small", drop_path_rate=0.2), arg)
