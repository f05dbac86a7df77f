"""MetaNeXt-Attn, isotropic, 224×224. Reported: 3.9 % top-1, 22.0 M, 4.6 G MACs.

    python main.py --config=configs/convnext/metanext_attn_small_iso.py --workdir=/ckpt

The paper reports that this network fails to train: attention is too much for one residual. It
gives no recipe; this is isotropic ConvNeXt's, as for the networks beside it.
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    return default.finish(recipe.isotropic("metanext_attn_small_iso", drop_path_rate=0.1), arg)
