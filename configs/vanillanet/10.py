"""VanillaNet-10, 224×224. Reported: 80.57 % top-1; deployed 45.7 M, 9.4 G MACs.

python main.py --config=configs/vanillanet/10.py --workdir=/ckpt
"""

from configs import default
from configs.vanillanet import recipe


def get_config(arg=""):
    return default.finish(recipe.scratch("10", weight_decay=0.25), arg)
