"""Isotropic ConvNeXt-S, 224×224. Reported: 79.7 % top-1, 22.3 M, 4.3 G MACs.

python main.py --config=configs/convnext/small_iso.py --workdir=/ckpt
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    return default.finish(recipe.isotropic("convnext_small_iso", drop_path_rate=0.1), arg)
