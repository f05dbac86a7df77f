"""Recipes of COCO of 12 epochs ("1x"), shared by the rows of detection; see `recipe`."""

from ml_collections import ConfigDict

from configs.detection.recipe import freeze_as_mmdetection
from configs.tasks import detection


def vanillanet(system: str, *, lr: float, decay_epochs: tuple[int, ...]) -> ConfigDict:
    """VanillaNet-13's config: 12 epochs of 32 images, sizes up to 1024, layer-wise rates."""
    config = detection.get_config()
    config.model.name = f"{system}_vanillanet_13"
    config.model.act_num = 4
    config.model.drop_path_rate = 0.0
    config.batch_size = config.optim.lr_batch_size = 32
    config.schedule.decay_epochs = decay_epochs
    config.optim.lr = lr
    config.optim.weight_decay = 0.05
    config.optim.layer_decay = 0.6
    config.optim.layer_groups = "pair"
    config.augment.shorts = tuple(range(480, 1025, 32))
    config.data.canvases = ((1024, 1344), (1344, 1024))
    config.eval.every_steps = 3664  # an epoch of COCO
    return config


def linear(config: ConfigDict) -> None:
    """A rate that falls linearly to 0, as the supplement of VanillaNet says."""
    config.schedule.name = "poly"
    config.schedule.power = 1.0
    config.schedule.decay_epochs = ()


def pvt(system: str, backbone: str, drop_path_rate: float = 0.0) -> ConfigDict:
    """PVT's and PoolFormer's configs, "1x": 12 epochs of 16 images of one size, AdamW."""
    config = detection.get_config()
    config.model.name = f"{system}_{backbone}"
    config.model.drop_path_rate = drop_path_rate
    config.optim.lr = 1e-4 if system == "retinanet" else 2e-4
    return config


def mmdetection_resnet(system: str, backbone: str) -> ConfigDict:
    """mmdetection's own "1x" for ResNets: the same with SGD."""
    config = pvt(system, backbone)
    config.optim.name = "sgd"
    config.optim.lr = 0.01 if system == "retinanet" else 0.02
    freeze_as_mmdetection(config)
    return config
