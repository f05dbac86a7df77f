"""VanillaNet's recipe (supplement, Table 2), shared by its rows.

The authors' script gives what the table leaves open: minimum rate 1e-6, bicubic crops, erasing with
probability 0.25, statistics and mixing per device of 128 images.
"""

from ml_collections import ConfigDict

from configs.tasks import classification


def scratch(
    name: str,
    *,
    lr: float = 3.5e-3,
    weight_decay: float = 0.3,
    mixup: float = 0.4,
    layer_decay: float | None = None,
    ema_decay: float = 0.99996,
) -> ConfigDict:
    """300 epochs of ImageNet-1K at 224×224; the slope rises over the first 100."""
    config = classification.get_config()
    config.model.name = f"vanillanet_{name}"
    config.model.drop_path_rate = 0.0
    config.model.dropout_rate = 0.05
    config.batch_size = config.optim.lr_batch_size = 1024
    config.loss.name = "bce"
    config.ema_decay = ema_decay
    config.optim.name = "lamb"
    config.optim.lr = lr
    config.optim.weight_decay = weight_decay
    config.optim.layer_decay = layer_decay
    config.schedule.per = "step"
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_lr = 0.0
    config.schedule.min_lr = 1e-6
    config.schedule.cooldown_epochs = 0.0
    config.schedule.slope_epochs = 100.0
    config.augment.rand_augment = "rand-m7-mstd0.5-inc1"
    config.augment.mixup = mixup
    config.augment.interpolation = "bicubic"
    config.augment.order = "convnext"
    config.checkpoint.best_metric = "eval_ema/top1"
    config.checkpoint.every_steps = config.eval.every_steps = 1251  # an epoch
    return config
