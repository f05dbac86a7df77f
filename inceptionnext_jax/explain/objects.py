"""Objects over an image: boxes, masks, names and scores."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inceptionnext_jax.data.instance_masks import Segmentation, bitmap
from inceptionnext_jax.data.label_maps import Color
from inceptionnext_jax.explain.fonts import INK, PAPER, sans, shorten
from inceptionnext_jax.explain.segments import shown_size

Line = Literal["solid", "dashed", "dotted"]
Frame = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture, included

SMALL, LARGE = 640, 1600  # pixels of a picture's long side
_OPACITY = 0.45  # of masks
_HATCH = 6  # pixels from line to line in masks of dotted boxes
_DASHES = {"dashed": (9, 5), "dotted": (2, 4)}  # pixels drawn, pixels left out
_PAD = 3  # pixels around a label's text


class Drawn(NamedTuple):
    """An object as it is drawn.

    Attributes:
      box: [4], x1, y1, x2, y2 in pixels of the image.
      color: The colour of box and mask.
      label: Beside the box; empty for none.
      mask: In the image's own pixels, or None.
      line: "solid" is for what a network found, "dashed" for what annotations say, "dotted" for
        annotated groups, whose masks are hatched.
    """

    box: Sequence[float] | np.ndarray
    color: Color
    label: str = ""
    mask: Segmentation = None
    line: Line = "solid"


def draw_objects(
    image: np.ndarray, objects: Sequence[Drawn], small: int = SMALL, large: int = LARGE
) -> Image.Image:
    """Draws an image with objects over it; the labels of the first ones lie on top.

    Args:
      image: [H, W, 3] uint8.
      objects: The likeliest first.
      small: Pixels of the long side, about, to which smaller images are enlarged by a whole factor.
      large: Pixels of the long side to which larger images are reduced.
    """
    size = shown_size(image.shape[:2], small, large)
    is_larger = size[0] > image.shape[0]
    how = Image.Resampling.BICUBIC if is_larger else Image.Resampling.BOX
    pixels = np.array(Image.fromarray(image).resize(size[::-1], how), np.float32)
    areas = [_area(one.box) for one in objects]
    order = sorted(range(len(objects)), key=lambda i: -areas[i])  # small ones over large ones
    for i in order:
        _tint(pixels, objects[i], image.shape[:2])
    picture = Image.fromarray(np.round(pixels).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    width = 3 if max(size) >= 900 else 2
    frames = [_frame(one.box, image.shape[:2], size) for one in objects]
    for i in order:
        _draw_frame(draw, frames[i], objects[i], width)
    _draw_labels(draw, frames, objects, picture.size)
    return picture


def _area(box: Sequence[float] | np.ndarray) -> float:
    x1, y1, x2, y2 = map(float, box)
    return (x2 - x1) * (y2 - y1)


def _tint(pixels: np.ndarray, one: Drawn, size: tuple[int, ...]) -> None:
    """Colours a mask's pixels in place, and draws its edge."""
    if one.mask is None:
        return
    mask = bitmap(one.mask, (size[0], size[1])) > 0
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return
    # The part of the picture around the mask, a pixel more on each side for the edge.
    spans = [
        (max(low * n // m - 1, 0), min(-(-(high + 1) * n // m) + 1, n))
        for (low, high), n, m in zip(
            ((rows[0], rows[-1]), (columns[0], columns[-1])), pixels.shape, size, strict=False
        )
    ]
    at = [np.arange(*span) * m // n for span, n, m in zip(spans, pixels.shape, size, strict=False)]
    inside = mask[np.ix_(*at)]
    part = pixels[slice(*spans[0]), slice(*spans[1])]
    shown = inside
    if one.line == "dotted":
        grid = np.add.outer(*(np.arange(*span) for span in spans))
        shown = inside & (grid % _HATCH < 2)
    color = np.array(one.color, np.float32)
    part[shown] = part[shown] * (1 - _OPACITY) + color * _OPACITY
    part[inside & ~_eroded(inside)] = color


def _eroded(mask: np.ndarray) -> np.ndarray:
    """The pixels whose four neighbours are in the mask too."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _frame(
    box: Sequence[float] | np.ndarray, size: tuple[int, ...], shown: tuple[int, int]
) -> Frame:
    """Returns the box in pixels of the picture, within it."""
    x1, y1, x2, y2 = map(float, box)
    scale_x, scale_y = shown[1] / size[1], shown[0] / size[0]
    left = min(max(round(x1 * scale_x), 0), shown[1] - 1)
    top = min(max(round(y1 * scale_y), 0), shown[0] - 1)
    right = min(max(round(x2 * scale_x) - 1, left), shown[1] - 1)
    bottom = min(max(round(y2 * scale_y) - 1, top), shown[0] - 1)
    return left, top, right, bottom


def _draw_frame(draw: ImageDraw.ImageDraw, frame: Frame, one: Drawn, width: int) -> None:
    """Draws a box; broken lines have a dark ground, to be seen on any photograph."""
    if one.line == "solid":
        draw.rectangle(frame, outline=one.color, width=width)
        return
    draw.rectangle(frame, outline=INK, width=width)
    left, top, right, bottom = frame
    on, off = _DASHES[one.line]
    for start in range(left, right + 1, on + off):
        end = min(start + on - 1, right)
        for y in (top, max(bottom - width + 1, top)):
            draw.rectangle((start, y, end, min(y + width - 1, bottom)), one.color)
    for start in range(top, bottom + 1, on + off):
        end = min(start + on - 1, bottom)
        for x in (left, max(right - width + 1, left)):
            draw.rectangle((x, start, min(x + width - 1, right), end), one.color)


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    frames: Sequence[Frame],
    objects: Sequence[Drawn],
    size: tuple[int, int],
) -> None:
    """Draws the labels where they cover each other least, each within the picture."""
    font = sans(max(10, min(18, max(size) // 44)), bold=True)
    ascent, descent = font.getmetrics()
    placed: list[tuple[Frame, str, Drawn]] = []
    for frame, one in zip(frames, objects, strict=True):
        text = shorten(one.label, font, size[0] - 2 * _PAD) if one.label else ""
        if not text:
            continue
        width = round(font.getlength(text)) + 2 * _PAD + _stripe(one)
        height = ascent + descent + 2
        taken = [other for other, _, _ in placed]
        placed.append((_free_place(frame, (width, height), size, taken), text, one))
    for where, text, one in reversed(placed):
        _draw_label(draw, where, text, one, font)


def _stripe(one: Drawn) -> int:
    """Pixels of the coloured stripe on the left of labels that are not on colour."""
    return 0 if one.line == "solid" else 6


def _free_place(
    frame: Frame, label: tuple[int, int], size: tuple[int, int], taken: Sequence[Frame]
) -> Frame:
    """Returns the place of a label at the box that covers least of the others.

    Args:
      frame: The box.
      label: Width and height of the label.
      size: Width and height of the picture.
      taken: Places of other labels.
    """
    left, top, right, bottom = frame
    width, height = label
    best, least = (0, 0, 0, 0), float("inf")
    for x, y in (
        (left, top - height),
        (left, top),
        (left, bottom + 1),
        (right - width + 1, top - height),
        (right - width + 1, bottom + 1),
        (left, bottom - height + 1),
    ):
        x = max(0, min(x, size[0] - width))
        is_outside = y < 0 or y + height > size[1]
        y = max(0, min(y, size[1] - height))
        place = (x, y, x + width - 1, y + height - 1)
        covered = sum(_common(place, other) for other in taken) + is_outside
        if covered < least:
            best, least = place, covered
    return best


def _common(one: Frame, other: Frame) -> int:
    """Pixels that two frames share."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    return max(width, 0) * max(height, 0)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    where: Frame,
    text: str,
    one: Drawn,
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top = where[:2]
    if one.line == "solid":
        draw.rectangle(where, one.color)
        red, green, blue = one.color
        ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else PAPER
    else:
        draw.rectangle(where, PAPER)
        draw.rectangle((left, top, left + _stripe(one) - 1, where[3]), one.color)
        ink = INK
    draw.text((left + _PAD + _stripe(one), top + 1), text, ink, font)
