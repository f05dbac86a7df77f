"""VanillaNet-12, 224×224. Reported: 81.55 % top-1; deployed 54.3 M, 11.1 G MACs.

    python main.py --config=configs/vanillanet/12.py --workdir=/ckpt

The authors start from the weights of VanillaNet-11 and do not say how; this starts from scratch.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("12", mixup=0.8, ema_decay=0.99992), arg)
