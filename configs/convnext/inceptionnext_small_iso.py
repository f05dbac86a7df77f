"""Isotropic InceptionNeXt-S, 224×224. Reported: 79.7 % top-1, 22.0 M, 4.2 G MACs.

    python main.py --config=configs/convnext/inceptionnext_small_iso.py --workdir=/ckpt

The paper gives no recipe for this network; this is isotropic ConvNeXt's, whose results it compares.
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    return default.finish(recipe.isotropic("inceptionnext_small_iso", drop_path_rate=0.1), arg)
