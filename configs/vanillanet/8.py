"""VanillaNet-8, 224×224. Reported: 79.13 % top-1; deployed 37.1 M, 7.7 G MACs.

python main.py --config=configs/vanillanet/8.py --workdir=/ckpt
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("8"), arg)
