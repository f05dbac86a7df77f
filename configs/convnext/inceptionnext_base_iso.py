"""Isotropic InceptionNeXt-B, 224×224. Reported: 82.1 % top-1, 86.5 M, 16.8 G MACs.

    python main.py --config=configs/convnext/inceptionnext_base_iso.py --workdir=/ckpt

The paper gives no recipe for this network; this is isotropic ConvNeXt's, whose results it compares.
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    return default.finish(recipe.isotropic("inceptionnext_base_iso", drop_path_rate=0.2), arg)
