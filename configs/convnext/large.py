"""ConvNeXt-L, 224×224 (appendix, training settings). Reported: 84.3 % top-1, 197.8 M, 34.4 G MACs.

    python main.py --config=configs/convnext/large.py --workdir=/ckpt

Variants: `:384` fine-tunes the result at 384×384 (reported 85.5 %), `:22k` pre-trains on
ImageNet-22K, `:22k_224` and `:22k_384` fine-tune from there (reported 86.6 % and 87.5 %).
"""

from configs import default
from configs.convnext import recipe, recipe_finetune


def get_config(arg=""):
    config = recipe.scratch("convnext_large", drop_path_rate=0.5, mix_group=64)
    variants = {"384": finetune, "22k": recipe.pretrain_22k}
    variants |= {"22k_224": finetune_22k_224, "22k_384": finetune_22k_384}
    return default.finish(config, arg, variants)


def finetune(config):
    """From this row's best averages: --config.init_from=/ckpt:best,ema."""
    recipe_finetune.finetune(config, drop_path_rate=0.95)


def finetune_22k_224(config):
    """From weights of ImageNet-22K: --config.init_from=/ckpt_22k:params."""
    recipe_finetune.finetune(config, drop_path_rate=0.3, layer_decay=0.8, image_size=224)


def finetune_22k_384(config):
    """From weights of ImageNet-22K: --config.init_from=/ckpt_22k:params."""
    recipe_finetune.finetune(config, drop_path_rate=0.3, layer_decay=0.8)
