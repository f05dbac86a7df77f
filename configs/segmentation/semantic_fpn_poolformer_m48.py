r"""Semantic FPN with PoolFormer-M48 on ADE20K. Reported: 42.7 % mIoU, 77 M, 82 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_poolformer_m48.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/poolformer_m48.sail_in1k

The row of InceptionNeXt's Table 6; the authors' config has no drop path.
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt("poolformer_m48"), arg)
