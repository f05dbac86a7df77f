"""Recipes of COCO of 36 epochs ("3x"), shared by the rows of detection; `recipe_1x` has the others.

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
    freeze_as_mmdetection(config)
    return config


def freeze_as_mmdetection(config: ConfigDict) -> None:
    """mmdetection's way with ResNets: stem and first stage stay, norms keep their statistics."""
    config.optim.freeze = r"^backbone/(stem|stages_0)/"
    config.head.frozen_norm = True
