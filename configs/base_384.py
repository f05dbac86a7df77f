"""InceptionNeXt-B fine-tuned at 384×384 (supplement, Table 1). Reported: 85.2 % top-1.

    python main.py --config=configs/base_384.py --workdir=/ckpt --config.init_from=/ckpt_of_base

The authors ran micro-batches of 32 images: that is the BatchNorm and mixing group.
`:script` follows their script where it differs from the paper.
"""

from configs import default
from configs.tasks import classification


def get_config(arg=""):
    config = classification.get_config()
    config.model.name = "inceptionnext_base_384"
    config.model.drop_path_rate = 0.7
    config.model.dropout_rate = 0.5
    config.model.bn_group_size = config.augment.mix_group_size = 32
    config.data.image_size = 384
    config.data.crop_pct = 1.0
    config.batch_size = config.optim.lr_batch_size = 1024
    config.total_epochs = 30.0
    config.optim.lr = 5e-5
    config.schedule.warmup_epochs = 0.0
    config.schedule.cooldown_epochs = 0.0
    config.ema_decay = 0.9999
    config.checkpoint.best_metric = "eval_ema/top1"
    config.checkpoint.every_steps = config.eval.every_steps = 1251  # an epoch
    return default.finish(config, arg, {"script": script})


def script(config):
    """The authors' script keeps the rate constant and does not mix images."""
    config.schedule.name = "constant"
    config.augment.mixup = config.augment.cutmix = 0.0
