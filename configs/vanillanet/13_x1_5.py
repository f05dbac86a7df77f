"""VanillaNet-13-1.5×, 224×224. Reported: 82.53 % top-1; deployed 127.8 M, 26.5 G MACs.

    python main.py --config=configs/vanillanet/13_x1_5.py --workdir=/ckpt

Its recipe is not published; this is VanillaNet-13's.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    config = recipe.scratch("13_x1_5", mixup=0.8, layer_decay=0.8, ema_decay=0.99992)
    return default.finish(config, arg)
