"""InceptionNeXt-T, 224×224 (supplement, Table 1). Reported: 82.3 % top-1, 28.1 M, 4.2 G MACs.

python main.py --config=configs/tiny.py --workdir=/ckpt
"""

from configs import default
from configs.tasks import classification


def get_config(arg=""):
    config = classification.get_config()
    config.model.name = "inceptionnext_tiny"
    config.model.drop_path_rate = 0.1
    config.data.crop_pct = 0.875
    config.checkpoint.every_steps = config.eval.every_steps = 312  # an epoch
    return default.finish(config, arg, {"script": default.same_as_paper})
