r"""Semantic FPN with ResNet-101 on ADE20K. Reported: 38.8 % mIoU, 48 M, 65 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_resnet101.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/resnet101.a1_in1k

The row of InceptionNeXt's Table 6, by PVT's config for ResNets, which trains them with SGD.
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt_resnet("resnet101"), arg)
