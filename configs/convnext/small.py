"""ConvNeXt-S, 224×224 (appendix, training settings). Reported: 83.1 % top-1, 50.2 M, 8.7 G MACs.

python main.py --config=configs/convnext/small.py --workdir=/ckpt
"""

from configs import default
from configs.convnext import recipe


def get_config(arg=""):
    config = recipe.scratch("convnext_small", drop_path_rate=0.4)
    return default.finish(config, arg)
