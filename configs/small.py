"""InceptionNeXt-S, 224×224 (supplement, Table 1). Reported: 83.5 % top-1, 49.4 M, 8.4 G MACs.

python main.py --config=configs/small.py --workdir=/ckpt
"""

from configs import default
from configs.tasks import classification


def get_config(arg=""):
    config = classification.get_config()
    config.model.name = "inceptionnext_small"
    config.model.drop_path_rate = 0.3
    config.data.crop_pct = 0.875
    config.checkpoint.every_steps = config.eval.every_steps = 312  # an epoch
    return default.finish(config, arg, {"script": default.same_as_paper})
