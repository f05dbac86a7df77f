"""Recipes of UperNet on ADE20K, and the variants of every row; `recipe_fpn` has Semantic FPN's.

These are the configs that the papers name, for mmsegmentation 0.x; docs/reproducing.md lists what
differs here. Training starts from a classifier's weights (--config.init_from).
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from configs import default
from configs.tasks import segmentation


def swin(backbone: str, drop_path_rate: float) -> ConfigDict:
    """UperNet by Swin's config: 160,000 steps of 16 crops of 512 pixels, AdamW."""
    config = segmentation.get_config()
    config.model.name = f"upernet_{backbone}"
    config.model.drop_path_rate = drop_path_rate
    config.eval.method = "whole"
    return config


def convnext(backbone: str, drop_path_rate: float) -> ConfigDict:
    """UperNet by ConvNeXt's config: Swin's with layer-wise rates, evaluated in windows."""
    config = swin(backbone, drop_path_rate)
    config.optim.lr = 1e-4
    config.optim.weight_decay = 0.05
    config.optim.layer_decay = 0.9
    config.optim.layer_groups = "stage"
    config.eval.method = "slide"
    return config


def from_22k(config: ConfigDict) -> None:
    """From weights of ImageNet-22K: crops and windows of 640 pixels."""
    config.data.image_size = 640
    config.data.resize = (2560, 640)


def several_views(config: ConfigDict) -> None:
    """Six scales, each mirrored too, of whole images: the papers' multi-scale figures."""
    config.eval.method = "whole"
    config.eval.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    config.eval.flip = True


def finish(
    config: ConfigDict, arg: str, variants: Mapping[str, default.Variant] | None = None
) -> ConfigDict:
    """Applies the variants after the colon; every row has `ms`, which is `several_views`."""
    return default.finish(config, arg, {"ms": several_views, **(variants or {})})
