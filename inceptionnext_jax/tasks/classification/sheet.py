"""Augmented images with their labels on a contact sheet."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from inceptionnext_jax.augment.recipe import AugmentSettings
from inceptionnext_jax.data.dataset import Splits
from inceptionnext_jax.explain.tiles import Weights, labelled
from inceptionnext_jax.groups import group_size
from inceptionnext_jax.tasks.kind import Sheet, Tiles
from inceptionnext_jax.tasks.pixels import pixels
from inceptionnext_jax.types import HostBatch

_MAX_LABELS = 3  # in a caption
_MIN_SHARE = 0.005  # of a label in a caption: smaller ones would read 0.00


def sheet(config: ConfigDict, dataset: Splits) -> Sheet:
    """Returns the drawing of images with their labels and shares below them.

    Shares are the target's without label smoothing. The noise of random erasing is clipped to the
    range of a picture.
    """
    augment = config.augment
    mixes = AugmentSettings(
        mixup=augment.mixup, cutmix=augment.cutmix, mix_prob=augment.mix_prob
    ).mixes
    group = group_size(augment.mix_group_size, config.batch_size) if mixes else None
    return Sheet(group, _recipe(config), partial(_draw, config, dataset.class_names))


def _draw(config: ConfigDict, class_names: Sequence[str], rows: Sequence[HostBatch]) -> Tiles:
    captions = [weights(config, class_names, batch) for batch in rows]
    lines_below = max(len(caption) for row in captions for caption in row)
    tiles = [
        [labelled(*pair, lines_below) for pair in zip(pixels(config, batch), row, strict=True)]
        for batch, row in zip(rows, captions, strict=True)
    ]
    return Tiles(tiles)


def weights(config: ConfigDict, class_names: Sequence[str], batch: HostBatch) -> list[Weights]:
    """Returns the largest labels of each target and their shares, before label smoothing."""
    smoothing = config.loss.label_smoothing
    return [_largest(target, smoothing, class_names) for target in batch["target"]]


def _largest(target: np.ndarray, smoothing: float, class_names: Sequence[str]) -> Weights:
    shares = (target.astype(np.float64) - smoothing / len(target)) / (1 - smoothing)
    order = [int(k) for k in np.argsort(-shares, kind="stable")[:_MAX_LABELS]]
    order = [k for k in order if shares[k] > _MIN_SHARE]
    names = [class_names[k] if k < len(class_names) else str(k) for k in order]
    return [(name, float(shares[k])) for name, k in zip(names, order, strict=True)]


def _recipe(config: ConfigDict) -> list[str]:
    """The steps of the augmentation in words and in order."""
    a = config.augment
    filters = "bilinear or bicubic" if a.interpolation == "random" else a.interpolation
    jitter = f"colour jitter {a.color_jitter:g}" if a.color_jitter else ""
    kinds = [f"mixup {a.mixup:g}" if a.mixup else "", f"CutMix {a.cutmix:g}" if a.cutmix else ""]
    mix = " or ".join(filter(None, kinds)) if a.mix_prob else ""
    if mix:
        mix += f" in groups of {min(a.mix_group_size or config.batch_size, config.batch_size)}"
    erase = f"erase {a.random_erasing:g}" if a.random_erasing else ""
    stages = [
        f"crop {a.scale[0]:g}–{a.scale[1]:g} to {config.data.image_size} px ({filters})",
        f"flip {a.hflip:g}" if a.hflip else "",
        a.rand_augment or jitter,
        *((mix, "normalise", erase) if a.order == "inceptionnext" else ("normalise", erase, mix)),
    ]
    return [
        f"order {a.order}: " + " → ".join(filter(None, stages)),
        f"seed {config.seed} · batch {config.batch_size} · "
        f"label smoothing {config.loss.label_smoothing:g}, not in the shares",
    ]
