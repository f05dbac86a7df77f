"""Isotropic ConvNeXt-B, 224×224. Reported: 82.0 % top-1, 87.1 M, 16.9 G MACs.

python main.py --config=configs/convnext/base_iso.py --workdir=/ckpt
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    return default.finish(recipe.isotropic("convnext_base_iso", drop_path_rate=0.2), arg)
