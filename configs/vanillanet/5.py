"""VanillaNet-5, 224×224. Reported: 72.49 % top-1; deployed 15.5 M, 5.2 G MACs.

python main.py --config=configs/vanillanet/5.py --workdir=/ckpt
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("5", weight_decay=0.35, mixup=0.1), arg)
