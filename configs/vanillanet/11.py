"""VanillaNet-11, 224×224. Reported: 81.08 % top-1; deployed 50.0 M, 10.3 G MACs.

    python main.py --config=configs/vanillanet/11.py --workdir=/ckpt

The authors start from the weights of VanillaNet-10 and do not say how; this starts from scratch.
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("11", mixup=0.8, ema_decay=0.99992), arg)
