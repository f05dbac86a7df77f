"""A page about the labels: how much of each class there is, and examples before and after the
augmentation."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from inceptionnext_jax.data.decode import BadImageError, decode_rgb
from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.data.sampler import image_uniforms
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER, sans, shorten
from inceptionnext_jax.explain.grid import draw_grid
from inceptionnext_jax.explain.segments import overlaid
from inceptionnext_jax.tasks.segmentation.label_sample import Sample
from inceptionnext_jax.tasks.segmentation.transform import TrainTransform, decoded

_EXAMPLES = 4
_SIDE = 256  # pixels of a tile
_COLUMNS = ("image", "its labels", "augmented", "its labels")
_ROW, _FONT = 22, 14  # pixels from class to class; font size
_NAME, _SHARE, _SWATCH = 150, 62, 14  # pixels for a name, a share and a colour
_CLASSES = 60  # in the histogram, at most
_HATCHED = (128, 128, 128)


def draw_page(
    config: ConfigDict,
    dataset: LabelMapDataset,
    transform: TrainTransform,
    samples: Sequence[Sample],
    lines: Sequence[str],
) -> Image.Image:
    """Draws the histogram of the classes, which is the legend too, above examples.

    Args:
      config: Valid.
      dataset: Its data.
      transform: The augmentation on the host.
      samples: Counted splits, the first of which is drawn.
      lines: Below the title.

    Raises:
      UserError: There is no example to draw.
    """
    sample = samples[0]
    rows = _examples(config, dataset, transform, sample)
    page = draw_grid(f"Labels of {config.data.name}", lines, rows, columns=_COLUMNS)
    histogram = _histogram(dataset, sample, page.width)
    whole = Image.new("RGB", (page.width, page.height + histogram.height), PAPER)
    whole.paste(page, (0, 0))
    whole.paste(histogram, (0, page.height))
    return whole


def _examples(
    config: ConfigDict, dataset: LabelMapDataset, transform: TrainTransform, sample: Sample
) -> list[list[Image.Image]]:
    """Rows of an image, its labels, both augmented as in the first step; evenly spaced examples."""
    source = dataset.train if sample.name == "training" else dataset.eval
    assert source is not None
    chosen = np.unique(np.linspace(0, len(sample.indices) - 1, _EXAMPLES).round().astype(int))
    rows = []
    for number in chosen:
        example = source[sample.indices[number]]
        draws = image_uniforms(config.seed, int(number), transform.num_uniforms)
        try:
            pixels = decode_rgb(example.image, example.name)
            image, labels = decoded(example, dataset.rule, pixels)
            after = transform(example, draws)
        except BadImageError:
            continue
        rows.append(
            [
                *_tiles(image, labels, dataset),
                *_tiles(after["image"], after["label"], dataset),
            ]
        )
    if not rows:
        raise UserError("--to has nothing to draw: no image of the sample fits its label map")
    return rows


def _tiles(image: np.ndarray, labels: np.ndarray, dataset: LabelMapDataset) -> list[Image.Image]:
    """An image and its labels over it, fitted into squares."""
    scale = _SIDE / max(labels.shape)
    size = [max(1, round(length * scale)) for length in labels.shape]
    rows, columns = (
        np.arange(n) * length // n for n, length in zip(size, labels.shape, strict=True)
    )
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    photo = np.asarray(Image.fromarray(image).resize((size[1], size[0]), how))
    tiles = []
    for pixels in (photo, overlaid(photo, labels[rows][:, columns], dataset.palette)):
        tile = Image.new("RGB", (_SIDE, _SIDE), PAPER)
        tile.paste(Image.fromarray(pixels), (0, 0))
        tiles.append(tile)
    return tiles


def _histogram(dataset: LabelMapDataset, sample: Sample, width: int) -> Image.Image:
    """Bars of the classes' shares in their colours, the largest first, in two columns."""
    total = max(int(sample.pixels.sum()) + sample.ignored, 1)
    order = np.argsort(-sample.pixels, kind="stable")[:_CLASSES]
    bars = [
        (dataset.class_names[k], dataset.palette[k], float(sample.pixels[k] / total)) for k in order
    ]
    if sample.ignored:
        bars.insert(0, ("(no label)", _HATCHED, sample.ignored / total))
    per_column = -(-len(bars) // 2)
    page = Image.new("RGB", (width, (per_column + 2) * _ROW), PAPER)
    draw, step = ImageDraw.Draw(page), (width - 26) // 2
    title = f"share of the {sample.name} pixels"
    if len(order) < len(sample.pixels):
        title += f", {_CLASSES} largest of {len(sample.pixels)} classes"
    draw.text((26, 0), title, FAINT, sans(_FONT))
    longest = max(share for *_, share in bars)
    for i, (name, color, share) in enumerate(bars):
        left, top = 26 + i // per_column * step, (i % per_column + 1) * _ROW
        draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), color, FAINT)
        left += _SWATCH + 8
        draw.text((left, top - 1), shorten(name, sans(_FONT), _NAME), INK, sans(_FONT))
        text = f"{share:.2%}" if share else "never"
        bold = sans(_FONT, bold=True)
        draw.text((left + _NAME + _SHARE - bold.getlength(text), top - 1), text, INK, bold)
        left += _NAME + _SHARE + 10
        room = step - _SWATCH - _NAME - _SHARE - 46
        if share:
            draw.rectangle((left, top, left + room * share / longest, top + _SWATCH), color, FAINT)
    return page
