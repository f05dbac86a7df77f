"""timm's twins of the comparators, and shallow ones with random weights."""

from tests.models.oracle import randomise

# Ours -> timm's.
TIMMS = {
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "resnet200": "resnet200",
    "resnext101_32x4d": "resnext101_32x4d",
    "resnext101_64x4d": "resnext101_64x4d",
    "regnety_4g": "regnety_040",
    "regnety_8g": "regnety_080",
    "regnety_16g": "regnety_160",
    "poolformer_s12": "poolformer_s12",
    "poolformer_s24": "poolformer_s24",
    "poolformer_s36": "poolformer_s36",
    "poolformer_m36": "poolformer_m36",
    "poolformer_m48": "poolformer_m48",
    "deit_small": "deit_small_patch16_224",
    "deit_base": "deit_base_patch16_224",
    "deit_base_384": "deit_base_patch16_384",
    "vit_base_384": "vit_base_patch16_384",
    "vit_large_384": "vit_large_patch16_384",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_small": "swin_small_patch4_window7_224",
    "swin_base": "swin_base_patch4_window7_224",
    "swin_large": "swin_large_patch4_window7_224",
    "swin_base_384": "swin_base_patch4_window12_384",
    "swin_large_384": "swin_large_patch4_window12_384",
    "focalnet_tiny": "focalnet_tiny_lrf",
    "focalnet_small": "focalnet_small_lrf",
    "focalnet_base": "focalnet_base_lrf",
    "efficientnet_b3": "tf_efficientnet_b3",
    "efficientnet_b4": "tf_efficientnet_b4",
    "efficientnet_b5": "tf_efficientnet_b5",
    "efficientnet_b6": "tf_efficientnet_b6",
    "efficientnet_b7": "tf_efficientnet_b7",
    "bit_r101x3_384": "resnetv2_101x3_bit",
    "bit_r152x4_480": "resnetv2_152x4_bit",
    "tnt_small": "tnt_s_legacy_patch16_224",
}
UNPUBLISHED = {"resnet200"}  # no weights
EVALUATED_AT = {"bit_r101x3_384": 448}  # by timm
# One of each family: blocks per stage, and an unusual size that the network accepts.
SHALLOW = {
    "resnet50": ((1, 2, 1, 1), (70, 97)),
    "resnext101_32x4d": ((1, 2, 1, 1), (70, 97)),
    "regnety_4g": ((1, 2, 1, 1), (70, 97)),
    "poolformer_s12": ((1, 2, 1, 1), (70, 97)),
    "deit_small": ((2,), (48, 80)),
    "swin_tiny": ((2, 2, 1, 2), (60, 92)),
    "swin_base_384": ((2, 2, 1, 2), (100, 140)),
    "focalnet_tiny": ((1, 2, 1, 1), (70, 97)),
    "efficientnet_b3": ((1, 2, 1, 1, 2, 1, 1), (70, 97)),
    "tnt_small": ((2,), (224, 224)),
}


def shallow(timm, name):
    """Returns timm's twin with 5 classes, few blocks and random statistics, in evaluation."""
    import torch

    torch.manual_seed(0)
    depths = SHALLOW[name][0]
    options = {
        "resnet50": {"layers": depths},
        "resnext101_32x4d": {"layers": depths},
        "deit_small": {"depth": depths[0], "dynamic_img_size": True},
        "swin_tiny": {"depths": depths, "strict_img_size": False},
        "swin_base_384": {"depths": depths, "strict_img_size": False},
        "tnt_small": {"depth": depths[0]},
    }
    oracle = timm.create_model(TIMMS[name], num_classes=5, **options.get(name, {}))
    if name in ("poolformer_s12", "focalnet_tiny"):
        stages = oracle.stages if name == "poolformer_s12" else oracle.layers
        for stage, depth in zip(stages, depths, strict=True):
            stage.blocks = stage.blocks[:depth]
    if name == "efficientnet_b3":
        for i, depth in enumerate(depths):
            oracle.blocks[i] = oracle.blocks[i][:depth]
    if name == "regnety_4g":
        for stage, depth in zip((oracle.s1, oracle.s2, oracle.s3, oracle.s4), depths, strict=True):
            for block in list(stage._modules)[depth:]:
                delattr(stage, block)
    with torch.no_grad():
        for key, value in oracle.named_parameters():
            if key.endswith(("cls_token", "pos_embed", "bias_table", "_pos")):
                value.normal_()
    return randomise(oracle)
