r"""Semantic FPN with ResNet-50 on ADE20K. Reported: 36.7 % mIoU, 29 M, 46 G MACs.

    python main.py --config=configs/segmentation/semantic_fpn_resnet50.py \
        --workdir=/ckpt --config.data.dir=ADEChallengeData2016 \
        --config.init_from=hf://timm/resnet50.a1_in1k

The row of InceptionNeXt's Table 6, by PVT's config for ResNets, which trains them with SGD.
"""

from configs.segmentation import recipe, recipe_fpn


def get_config(arg=""):
    return recipe.finish(recipe_fpn.pvt_resnet("resnet50"), arg)
