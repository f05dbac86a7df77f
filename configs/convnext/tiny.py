"""ConvNeXt-T, 224×224 (appendix, training settings). Reported: 82.1 % top-1, 28.6 M, 4.5 G MACs.

python main.py --config=configs/convnext/tiny.py --workdir=/ckpt
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    config = recipe.scratch("convnext_tiny", drop_path_rate=0.1)
    return default.finish(config, arg)
