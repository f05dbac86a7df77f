"""Augmented images with their objects on a contact sheet."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from inceptionnext_jax.data.instances import InstanceDataset
from inceptionnext_jax.data.object_colors import object_colors
from inceptionnext_jax.data.paste import paste_encoded
from inceptionnext_jax.explain.legend import Entry
from inceptionnext_jax.explain.objects import Drawn, draw_objects
from inceptionnext_jax.explain.segments import shown_size
from inceptionnext_jax.tasks.kind import Sheet, Tiles
from inceptionnext_jax.tasks.pixels import pixels
from inceptionnext_jax.types import HostBatch

_SIDE = 384  # pixels of the long side of a padded image, about
_PADDING = (225, 229, 234)


def sheet(config: ConfigDict, dataset: InstanceDataset) -> Sheet:
    """Returns the drawing of images with their boxes, and masks where there are some."""
    return Sheet(None, _recipe(config), partial(_draw, config, dataset))


def _draw(config: ConfigDict, dataset: InstanceDataset, rows: Sequence[HostBatch]) -> Tiles:
    colors = object_colors(dataset.num_classes)
    counts = np.zeros(dataset.num_classes, np.int64)
    tiles = []
    for batch in rows:
        counts += np.bincount(batch["classes"][batch["valid"]], minlength=dataset.num_classes)
        images = pixels(config, batch)
        tiles.append([
            _tile(image, _objects(batch, number, dataset, colors), batch["size"][number])
            for number, image in enumerate(images)
        ])  # fmt: skip
    # Batches may be padded to different shapes, and a page has pictures of one size.
    sizes = [tile.size for row in tiles for tile in row]
    size = max(width for width, _ in sizes), max(height for _, height in sizes)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    legend = [Entry(colors[k], dataset.class_names[k], f"{counts[k]}") for k in order]
    return Tiles([[_enlarged(tile, size) for tile in row] for row in tiles], legend)


def _objects(
    batch: HostBatch, number: int, dataset: InstanceDataset, colors: Sequence[tuple[int, int, int]]
) -> list[Drawn]:
    """Returns the objects of one image of a batch."""
    height, width = map(int, batch["size"][number])
    found = []
    for slot in np.flatnonzero(batch["valid"][number]):
        box, k = batch["boxes"][number, slot], int(batch["classes"][number, slot])
        mask = None
        if "masks" in batch:
            mask = paste_encoded(batch["masks"][number, slot] / 255, box, (height, width))
        found.append(Drawn(box, colors[k], dataset.class_names[k], mask, "dashed"))
    return found


def _tile(image: np.ndarray, objects: Sequence[Drawn], size: np.ndarray) -> Image.Image:
    """Draws an image with its objects, and its padding in grey."""
    canvas = image.shape[:2]
    shown = shown_size(canvas, _SIDE, _SIDE)
    height, width = map(int, size)
    side = round(max(height, width) * max(shown) / max(canvas))
    picture = draw_objects(image[:height, :width], objects, side, side)
    tile = Image.new("RGB", shown[::-1], _PADDING)
    tile.paste(picture, (0, 0))
    return tile


def _enlarged(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    page = Image.new("RGB", size, "#ffffff")
    page.paste(tile, (0, 0))
    return page


def _recipe(config: ConfigDict) -> list[str]:
    """The steps of the augmentation in words and in order."""
    a = config.augment
    resize = f"resize the short side to {_range(a.shorts)}, the long one to {a.long} at most"
    low, high = a.crop
    crop = (
        f"with probability {a.crop_prob:g} first resize to {_range(a.crop_shorts)} and crop "
        f"{low}–{high} px"
        if a.crop_prob
        else ""
    )
    canvases = ", ".join(f"{height} × {width}" for height, width in config.data.canvases)
    stages = [
        f"flip {a.hflip:g}" if a.hflip else "", crop, resize, "normalise", f"pad to {canvases}",
    ]  # fmt: skip
    return [
        " → ".join(filter(None, stages)),
        f"seed {config.seed} · batch {config.batch_size} · grey: padding",
    ]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low} px" if low == high else f"{low}–{high} px"
