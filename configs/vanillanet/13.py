"""VanillaNet-13, 224×224. Reported: 82.05 % top-1; deployed 58.6 M, 11.9 G MACs.

    python main.py --config=configs/vanillanet/13.py --workdir=/ckpt

The authors start from the weights of VanillaNet-12 and do not say how; this starts from scratch.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("13", mixup=0.8, layer_decay=0.8, ema_decay=0.99992), arg)
