r"""ConvNeXt-XL on ImageNet-22K (appendix, training settings), then ImageNet-1K.

    python main.py --config=configs/convnext/xlarge.py:22k --workdir=/ckpt \
        --config.data.dir=/imagenet22k
    python main.py --config=configs/convnext/xlarge.py:22k_384 --workdir=/ckpt384 \
        --config.init_from=/ckpt:params

Reported after `:22k_224`: 87.0 % top-1, 350.2 M, 60.9 G MACs; after `:22k_384`: 87.8 %, 179.0 G.
No row of ImageNet-1K alone is published: without a variant, this is `:22k`.
"""

from configs import default
from configs.convnext import recipe, recipe_finetune


def get_config(arg=""):
    config = recipe.scratch("convnext_xlarge", drop_path_rate=0.2)
    variants = {"22k": pretrain, "22k_224": finetune_224, "22k_384": finetune_384}
    chosen = set(arg.split(",")) & set(variants)
    return default.finish(config, arg if chosen else f"22k,{arg}", variants)


def pretrain(config):
    """90 epochs; set the folder with --config.data.dir."""
    recipe.pretrain_22k(config, drop_path_rate=0.2)


def finetune_224(config):
    """From the weights of ImageNet-22K (--config.init_from)."""
    _finetune(config, image_size=224)


def finetune_384(config):
    """From the weights of ImageNet-22K (--config.init_from)."""
    _finetune(config, image_size=384)


def _finetune(config, image_size):
    recipe_finetune.finetune(config, drop_path_rate=0.4, layer_decay=0.8, image_size=image_size)
    config.ema_decay = 0.9999
    config.checkpoint.best_metric = "eval_ema/top1"
