"""scikit-learn's 1,797 handwritten digits through the whole ImageNet path, on a laptop.

python main.py --config=configs/digits.py --workdir=out/digits
"""

from configs import default


def get_config(arg=""):
    config = default.get_config()
    config.model.name = "inceptionnext_atto"
    config.model.stage_depths = (1, 1, 2, 1)
    config.model.drop_path_rate = 0.0
    config.model.bn_group_size = 0
    config.data.name = "digits"
    config.data.image_size = 32
    config.data.crop_pct = 1.0
    config.data.workers = 0
    config.batch_size = config.optim.lr_batch_size = 128
    config.total_epochs = 30.0
    config.optim.lr = 2e-3
    config.schedule.warmup_epochs = 2.0
    config.schedule.cooldown_epochs = 0.0
    config.schedule.per = "step"
    config.augment.scale = (0.6, 1.0)
    config.augment.hflip = 0.0  # a mirrored digit is another sign
    config.augment.rand_augment = ""
    config.augment.color_jitter = 0.0
    config.augment.mixup = config.augment.cutmix = 0.0
    config.augment.mix_group_size = 0
    config.augment.random_erasing = 0.0
    config.log.every_steps = 11  # an epoch
    config.checkpoint.every_steps = config.eval.every_steps = 55
    return default.finish(config, arg)
