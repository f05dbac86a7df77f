"""VanillaNet-7, 224×224. Reported: 77.98 % top-1; deployed 32.8 M, 6.9 G MACs.

    python main.py --config=configs/vanillanet/7.py --workdir=/ckpt

Variant: `:readme` is the authors' command, rate 4.7e-3.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    config = recipe.scratch("7", lr=4.8e-3, weight_decay=0.35, layer_decay=0.8)
    return default.finish(config, arg, {"readme": readme})


def readme(config):
    config.optim.lr = 4.7e-3
