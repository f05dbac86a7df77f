"""Augmented images with their label maps on a contact sheet."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.explain.legend import Entry
from inceptionnext_jax.explain.segments import overlaid
from inceptionnext_jax.tasks.kind import Sheet, Tiles
from inceptionnext_jax.tasks.pixels import pixels
from inceptionnext_jax.types import HostBatch

_SIDE = 256  # pixels, about; images are enlarged or reduced by a whole factor
_GAP = 4  # pixels between an image and its label map


def sheet(config: ConfigDict, dataset: LabelMapDataset) -> Sheet:
    """Returns the drawing of images with their label maps over them below."""
    return Sheet(None, _recipe(config), partial(_draw, config, dataset))


def _draw(config: ConfigDict, dataset: LabelMapDataset, rows: Sequence[HostBatch]) -> Tiles:
    tiles, counts = [], np.zeros(dataset.num_classes, np.int64)
    for batch in rows:
        pairs = zip(pixels(config, batch), batch["label"], strict=True)
        tiles.append([_tile(image, label, dataset) for image, label in pairs])
        known = batch["label"][batch["label"] >= 0]
        counts += np.bincount(known, minlength=dataset.num_classes)
    present = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    legend = [
        Entry(dataset.palette[k], dataset.class_names[k], f"{counts[k] / counts.sum():.1%}")
        for k in present
    ]
    return Tiles(tiles, legend)


def _tile(image: np.ndarray, label: np.ndarray, dataset: LabelMapDataset) -> Image.Image:
    """Draws an image, and below it the same with its classes' colours."""
    enlarged, reduced = max(1, round(_SIDE / len(image))), max(1, round(len(image) / _SIDE))
    photo = np.asarray(Image.fromarray(image).reduce(reduced))
    photo, label = (
        array.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
        for array in (photo, label[::reduced, ::reduced])
    )
    colored = overlaid(photo, label, dataset.palette)
    between = np.full((_GAP, *photo.shape[1:]), 255, np.uint8)
    return Image.fromarray(np.concatenate([photo, between, colored]))


def _recipe(config: ConfigDict) -> list[str]:
    """The steps of the augmentation in words and in order."""
    a, size = config.augment, config.data.image_size
    low, high = a.ratio
    most = f" (a class has at most {a.cat_max_ratio:.0%})" if a.cat_max_ratio < 1 else ""
    stages = [
        f"resize within {config.data.resize[0]} × {config.data.resize[1]} × {low:g}–{high:g}",
        f"crop to {size} px{most}",
        f"flip {a.hflip:g}" if a.hflip else "",
        "brightness, contrast, saturation, hue" if a.photometric else "",
        "normalise",
        "pad",
    ]
    return [
        " → ".join(filter(None, stages)),
        f"seed {config.seed} · batch {config.batch_size} · hatched: no label, or padding",
    ]
