"""Isotropic ConvNeXt-L, 224×224. Reported: 82.6 % top-1, 305.9 M, 59.7 G MACs.

python main.py --config=configs/convnext/large_iso.py --workdir=/ckpt
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    config = recipe.isotropic("convnext_large_iso", drop_path_rate=0.5, mix_group=64)
    return default.finish(config, arg)
