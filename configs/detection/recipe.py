"""Recipes of COCO, shared by the rows of detection.

These are the configs that the papers name, for mmdetection 2.x; docs/reproducing.md lists what
differs here. Training starts from a classifier's weights (--config.init_from).
"""

from ml_collections import ConfigDict

from configs.tasks import detection


def swin(system: str, backbone: str, drop_path_rate: float) -> ConfigDict:
    """Swin's config, "3x": 36 epochs of 16 images, many sizes and random crops, AdamW."""
    config = detection.get_config()
    config.model.name = f"{system}_{backbone}"
    config.model.drop_path_rate = drop_path_rate
    config.total_epochs = 36.0
    config.schedule.decay_epochs = (27, 33)
    config.optim.lr = 1e-4
    config.optim.weight_decay = 0.05
    config.augment.shorts = tuple(range(480, 801, 32))
    config.augment.crop_prob = 0.5
    return config


def convnext(
    system: str, backbone: str, *, lr: float, layer_decay: float, drop_path_rate: float
) -> ConfigDict:
    """ConvNeXt's config: Swin's with layer-wise rates."""
    config = swin(system, backbone, drop_path_rate)
    config.optim.lr = lr
    config.optim.layer_decay = layer_decay
    config.optim.layer_groups = "triple"
    return config


def swin_resnet(system: str, backbone: str) -> ConfigDict:
    """Swin's config for ResNets and ResNeXts."""
    config = swin(system, backbone, drop_path_rate=0.0)
    _freeze(config)
    return config


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
    _freeze(config)
    return config


def _freeze(config: ConfigDict) -> None:
    """mmdetection's way with ResNets: stem and first stage stay, norms keep their statistics."""
    config.optim.freeze = r"^backbone/(stem|stages_0)/"
    config.head.frozen_norm = True
