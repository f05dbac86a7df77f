"""ConvNeXt's recipes (appendix, training settings), shared by its rows."""

from ml_collections import ConfigDict

from configs.tasks import classification


def scratch(name: str, drop_path_rate: float, mix_group: int = 128) -> ConfigDict:
    """300 epochs of ImageNet-1K at 224×224.

    mix_group: The authors' images per device, which mix with each other by one draw.
    """
    config = classification.get_config()
    config.model.name = name
    config.model.drop_path_rate = drop_path_rate
    config.ema_decay = 0.9999
    config.optim.lr = 4e-3
    config.schedule.per = "step"
    config.schedule.warmup_lr = 0.0
    config.schedule.min_lr = 1e-6
    config.schedule.cooldown_epochs = 0.0
    config.augment.interpolation = "bicubic"
    config.augment.order = "convnext"
    config.augment.mix_group_size = mix_group
    config.data.crop_pct = 0.875
    config.checkpoint.best_metric = "eval_ema/top1"
    config.checkpoint.every_steps = config.eval.every_steps = 312  # an epoch
    return config


def isotropic(name: str, drop_path_rate: float, mix_group: int = 128) -> ConfigDict:
    """Training from scratch with a longer warm-up."""
    config = scratch(name, drop_path_rate, mix_group)
    config.schedule.warmup_epochs = 50.0
    return config


def pretrain_22k(config: ConfigDict, drop_path_rate: float = 0.1) -> None:
    """90 epochs of ImageNet-22K; set the folder with --config.data.dir.

    The authors did not evaluate (--disable_eval); a folder with train/ only does the same.
    """
    config.data.name = "folder"
    config.augment.mix_group_size = 32
    config.model.num_classes = 21_841
    config.model.drop_path_rate = drop_path_rate
    config.ema_decay = None
    config.checkpoint.best_metric = "eval/top1"
    config.total_epochs = 90.0
    config.schedule.warmup_epochs = 5.0
    # An epoch of the 14,197,122 images.
    config.checkpoint.every_steps = config.eval.every_steps = 3466
