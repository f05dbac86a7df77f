"""ConvNeXt's recipe of fine-tuning (appendix, training settings), shared by its rows."""

from ml_collections import ConfigDict


def finetune(
    config: ConfigDict, drop_path_rate: float, layer_decay: float = 0.7, image_size: int = 384
) -> None:
    """30 epochs of ImageNet-1K from the weights that --config.init_from names."""
    config.model.drop_path_rate = drop_path_rate
    config.model.head_init_scale = 0.001
    config.batch_size = config.optim.lr_batch_size = 512
    config.total_epochs = 30.0
    config.optim.lr = 5e-5
    config.optim.weight_decay = 1e-8
    config.optim.layer_decay = layer_decay
    config.schedule.warmup_epochs = 0.0
    config.augment.mixup = config.augment.cutmix = 0.0
    config.data.image_size = image_size
    config.data.crop_pct = 0.875 if image_size == 224 else 1.0
    config.ema_decay = None
    config.checkpoint.best_metric = "eval/top1"
    config.checkpoint.every_steps = config.eval.every_steps = 2502  # an epoch
