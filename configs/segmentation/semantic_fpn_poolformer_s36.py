r"""Semantic FPN with PoolFormer-S36 on ADE20K. Reported: 42.0 % mIoU, 35 M, 48 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_poolformer_s36.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/poolformer_s36.sail_in1k

The row of InceptionNeXt's Table 6; the authors' config has no drop path.
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt("poolformer_s36"), arg)
