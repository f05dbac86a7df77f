"""The config of the outside task: python main.py --config=tests/outside/config.py --workdir=…"""

from ml_collections import ConfigDict

from configs import default
from tests.outside import brightness  # noqa: F401 (registers the task and its network)


def get_config(arg=""):
    config = default.shared("brightness")
    config.data = ConfigDict()
    config.data.name = "pictures"
    config.data.pictures = 64  # to train on
    config.data.workers = 0
    config.data.max_bad = 0.0
    config.data.cache = False
    config.model.name = "strips"
    config.model.bn_group_size = 0
    config.model.drop_path_rate = 0.0
    config.batch_size = config.optim.lr_batch_size = 16
    config.total_steps = 6
    config.schedule.per = "step"
    config.optim.lr = 0.02
    config.ema_decay = 0.5
    config.log.every_steps = 1
    config.log.tensorboard = False
    config.checkpoint.every_steps = 2
    config.checkpoint.asynchronous = False
    config.checkpoint.best_metric = "eval/rank"
    config.eval.every_steps = 0
    return config
