r"""ConvNeXt-XL on ImageNet-22K (appendix, training settings), then ImageNet-1K.

    python main.py --config=configs/convnext/xlarge.py --workdir=/ckpt \
        --config.data.dir=/imagenet22k
    python main.py --config=configs/convnext/xlarge.py:384 --workdir=/ckpt384 \
        --config.init_from=/ckpt

Reported: 87.8 % top-1 at 384×384, 350.2 M, 179.0 G MACs.
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    config = recipe.scratch("convnext_xlarge", drop_path_rate=0.2)
    if "384" not in arg.split(","):
        recipe.pretrain_22k(config, drop_path_rate=0.2)
    return default.finish(config, arg, {"384": finetune})


def finetune(config):
    """From the weights of ImageNet-22K (--config.init_from)."""
    recipe.finetune(config, drop_path_rate=0.4, layer_decay=0.8)
    config.ema_decay = 0.9999
    config.checkpoint.best_metric = "eval_ema/top1"
