"""VanillaNet-6, 224×224. Reported: 76.36 % top-1; deployed 32.5 M, 6.0 G MACs.

    python main.py --config=configs/vanillanet/6.py --workdir=/ckpt

Variant: `:readme` is the authors' command, weight decay 0.32.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    config = recipe.scratch("6", lr=4.8e-3, weight_decay=0.35, mixup=0.15, layer_decay=0.8)
    return default.finish(config, arg, {"readme": readme})


def readme(config):
    config.optim.weight_decay = 0.32
