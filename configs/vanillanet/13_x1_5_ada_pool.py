"""VanillaNet-13-1.5×† (adaptive pooling), 224×224. Reported: 83.11 % top-1.

Deployed 127.8 M, 49.0 G MACs (reported: 48.9).

    python main.py --config=configs/vanillanet/13_x1_5_ada_pool.py --workdir=/ckpt

Its recipe is not published; this is VanillaNet-13's.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    config = recipe.scratch("13_x1_5_ada_pool", mixup=0.8, layer_decay=0.8, ema_decay=0.99992)
    return default.finish(config, arg)
