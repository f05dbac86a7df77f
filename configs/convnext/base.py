"""ConvNeXt-B, 224×224 (appendix, training settings). Reported: 83.8 % top-1, 88.6 M, 15.4 G MACs.

    python main.py --config=configs/convnext/base.py --workdir=/ckpt

Variants: `:384` fine-tunes the result at 384×384 (reported 85.1 %), `:22k` pre-trains on
ImageNet-22K, `:22k_224` and `:22k_384` fine-tune from there (reported 85.8 % and 86.8 %).
"""

from configs import default
from configs.convnext import recipe, recipe_finetune


def get_config(arg=""):
    config = recipe.scratch("convnext_base", drop_path_rate=0.5)
    variants = {"384": finetune, "22k": recipe.pretrain_22k}
    variants |= {"22k_224": finetune_22k_224, "22k_384": finetune_22k_384}
    return default.finish(config, arg, variants)


def finetune(config):
    """From this row's own weights: --config.init_from=/ckpt:params."""
    recipe_finetune.finetune(config, drop_path_rate=0.8)


def finetune_22k_224(config):
    """From weights of ImageNet-22K: --config.init_from=/ckpt_22k:params."""
    recipe_finetune.finetune(config, drop_path_rate=0.2, layer_decay=0.8, image_size=224)


def finetune_22k_384(config):
    """From weights of ImageNet-22K: --config.init_from=/ckpt_22k:params."""
    recipe_finetune.finetune(config, drop_path_rate=0.2, layer_decay=0.8)
