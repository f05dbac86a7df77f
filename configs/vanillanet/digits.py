"""A narrow VanillaNet-6 on the handwritten digits: its optimizer, loss and slope on a laptop.

python main.py --config=configs/vanillanet/digits.py --workdir=out/vanillanet
"""

from configs import default
from configs import digits as digits_config


def get_config(arg=""):
    config = digits_config.get_config()
    config.model.name = "vanillanet_6"
    config.model.stage_depths = None
    config.model.width = 1 / 8  # 64 to 512 channels
    config.loss.name = "bce"
    config.ema_decay = 0.95
    config.optim.name = "lamb"
    config.optim.lr = 1e-2
    config.optim.layer_decay = 0.8
    config.schedule.slope_epochs = 10.0
    config.checkpoint.best_metric = "eval_ema/top1"
    return default.finish(config, arg)
