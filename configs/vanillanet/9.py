"""VanillaNet-9, 224×224. Reported: 79.87 % top-1; deployed 41.4 M, 8.6 G MACs.

python main.py --config=configs/vanillanet/9.py --workdir=/ckpt
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("9"), arg)
