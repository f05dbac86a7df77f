"""Recipes of Semantic FPN on ADE20K, as `recipe`."""

from ml_collections import ConfigDict

from configs.tasks import segmentation


def pvt(backbone: str, drop_path_rate: float = 0.0) -> ConfigDict:
    """Semantic FPN by PVT's and PoolFormer's configs: 40,000 steps of 32 crops of 512 pixels."""
    config = segmentation.get_config()
    config.model.name = f"semantic_fpn_{backbone}"
    config.model.drop_path_rate = drop_path_rate
    config.batch_size = config.optim.lr_batch_size = 32
    config.total_steps = 40_000
    config.optim.lr = 2e-4
    config.optim.weight_decay = 1e-4
    config.schedule.power = 0.9
    config.schedule.warmup_steps = 0
    config.eval.method = "whole"
    config.eval.multiple = 32
    config.eval.every_steps = config.checkpoint.every_steps = 4000
    return config


def pvt_resnet(backbone: str) -> ConfigDict:
    """Semantic FPN by PVT's config for ResNets: the same with SGD."""
    config = pvt(backbone)
    config.optim.name = "sgd"
    config.optim.lr = 0.02
    config.optim.weight_decay = 5e-4
    return config
