r"""Semantic FPN with PoolFormer-M36 on ADE20K. Reported: 42.4 % mIoU, 60 M, 68 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_poolformer_m36.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/poolformer_m36.sail_in1k

The row of InceptionNeXt's Table 6; the authors' config has no drop path.
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt("poolformer_m36"), arg)
