"""Label maps as colours over images."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from inceptionnext_jax.data.label_maps import Color
from inceptionnext_jax.explain.fonts import FAINT, PAPER, sans
from inceptionnext_jax.explain.legend import FONT, ROW, Entry, draw_entry

_OPACITY = 0.65  # of colours over an image
_HATCH = 8  # pixels from line to line of ignored areas
_HATCHED, _HATCH_LINE = (150, 150, 150), (210, 210, 210)
_EDGE = 0.55  # brightness of the edges between classes
_SMALL, _LARGE = 480, 1600  # pixels of a picture's long side
_MARGIN, _GAP = 20, 20
_LEGEND = 250  # pixels, the width of a legend beside an image
_LINES = 12  # of a legend beside the lowest image


def overlaid(image: np.ndarray, label_map: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """Returns an image with its classes' colours over it, [H, W, 3] uint8.

    Edges between classes are dark, areas without a label hatched in grey.

    Args:
      image: [H, W, 3] uint8.
      label_map: [H, W] integers; negative where there is no label.
      colors: One for each class.
    """
    table = np.array([*colors, _HATCHED], np.float32)
    is_known = label_map >= 0
    flat = table[np.where(is_known, label_map, len(colors))]
    rows, columns = np.indices(label_map.shape)
    flat[~is_known & ((rows + columns) % _HATCH < 2)] = _HATCH_LINE
    opacity = np.where(is_known, _OPACITY, 0.85)[:, :, None].astype(np.float32)
    mixed = image * (1 - opacity) + flat * opacity
    mixed[_edges(label_map)] *= _EDGE
    return np.round(mixed).astype(np.uint8)


def draw_overlay(
    image: np.ndarray, label_map: np.ndarray, colors: Sequence[Color], entries: Sequence[Entry]
) -> Image.Image:
    """Draws an image with its classes' colours over it, and a legend on its right.

    Small images are enlarged by a whole factor, large ones reduced.

    Args:
      image: [H, W, 3] uint8.
      label_map: [H, W] integers; negative where there is no label.
      colors: One for each class.
      entries: The legend's lines; those that do not fit are counted on the last one.
    """
    size = shown_size(image.shape[:2])
    is_larger = size[0] > image.shape[0]
    how = Image.Resampling.BICUBIC if is_larger else Image.Resampling.BOX
    photo = np.asarray(Image.fromarray(image).resize(size[::-1], how))
    positions = [np.arange(n) * m // n for n, m in zip(size, label_map.shape, strict=True)]
    picture = Image.fromarray(overlaid(photo, label_map[np.ix_(*positions)], colors))
    lines = max(_LINES, size[0] // ROW)
    shown = list(entries)
    rest = ""
    if len(shown) > lines:
        shown, rest = shown[: lines - 1], f"and {len(shown) - lines + 1} more"
    height = max(size[0], (len(shown) + bool(rest)) * ROW)
    page = Image.new("RGB", (size[1] + 2 * _MARGIN + _GAP + _LEGEND, height + 2 * _MARGIN), PAPER)
    page.paste(picture, (_MARGIN, _MARGIN))
    draw, left = ImageDraw.Draw(page), _MARGIN + size[1] + _GAP
    for i, entry in enumerate(shown):
        draw_entry(draw, entry, left, _MARGIN + i * ROW, _LEGEND)
    draw.text((left, _MARGIN + len(shown) * ROW), rest, FAINT, sans(FONT))
    return page


def _edges(label_map: np.ndarray) -> np.ndarray:
    """Returns the pixels that have another class below or on the right, [H, W] bool."""
    edges = np.zeros(label_map.shape, bool)
    edges[:-1] |= label_map[:-1] != label_map[1:]
    edges[:, :-1] |= label_map[:, :-1] != label_map[:, 1:]
    return edges


def shown_size(size: tuple[int, ...], small: int = _SMALL, large: int = _LARGE) -> tuple[int, int]:
    """Returns height and width in a picture.

    Args:
      size: Height and width of the image.
      small: Pixels of the long side, about, to which smaller images are enlarged by a whole factor.
      large: Pixels of the long side to which larger images are reduced.
    """
    long = max(size)
    factor: float = max(1, round(small / long)) if long <= large else large / long
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
