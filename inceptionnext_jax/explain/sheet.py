"""A contact sheet: rows of images with their labels and how much each label weighs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Weights = Sequence[tuple[str, float]]  # (label, share), the largest first

_TILE = 168  # pixels; smaller images are enlarged by whole factors until they are about so wide
_GAP, _MARGIN = 12, 28
_BAR = 6  # height of the bar of shares
_NARROWEST = 480  # so that the title has room
_TITLE, _TEXT, _CAPTION = 24, 15, 13  # font sizes
_INK, _FAINT, _PAPER, _REST = "#1b1f24", "#66707c", "#ffffff", "#d5dae0"
_SHARES = ("#2563a8", "#e08a1e", "#3f9b6d")  # of the first, second and third label


@dataclass(frozen=True)
class Row:
    """images: [N, H, W, 3] uint8. weights: labels and shares of each image."""

    heading: str
    images: np.ndarray
    weights: Sequence[Weights]


def contact_sheet(title: str, lines: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Draws rows of images of one size; every pixel of an image is a square of equal pixels.

    title, lines: above the rows; long lines are wrapped.
    """
    height, width = rows[0].images.shape[1:3]
    factor = max(1, round(_TILE / width))
    columns = max(len(row.images) for row in rows)
    labels = max(len(weights) for row in rows for weights in row.weights)
    cell = (max(width * factor, _TILE // 2), height * factor)
    below = 4 + _BAR + 4 + labels * (_CAPTION + 5)
    inner = max(columns * (cell[0] + _GAP) - _GAP, _NARROWEST)
    wrapped = [part for line in lines for part in _wrapped(line, _font(_TEXT), inner)]
    titles = _wrapped(title, _font(_TITLE, bold=True), inner)
    top = _MARGIN + len(titles) * (_TITLE + 8) + len(wrapped) * (_TEXT + 7) + 8
    row_height = _TEXT + 12 + cell[1] + below + _GAP
    size = (inner + 2 * _MARGIN, top + len(rows) * row_height + _MARGIN - _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for text in titles:
        draw.text((_MARGIN, y), text, _INK, _font(_TITLE, bold=True))
        y += _TITLE + 8
    for text in wrapped:
        draw.text((_MARGIN, y), text, _FAINT, _font(_TEXT))
        y += _TEXT + 7
    for index, row in enumerate(rows):
        _draw_row(sheet, draw, row, top + index * row_height, cell, factor)
    return sheet


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Row,
    top: int,
    cell: tuple[int, int],
    factor: int,
) -> None:
    draw.text((_MARGIN, top), row.heading, _INK, _font(_TEXT, bold=True))
    for column, (pixels, weights) in enumerate(zip(row.images, row.weights, strict=True)):
        x, y = _MARGIN + column * (cell[0] + _GAP), top + _TEXT + 12
        tile = Image.fromarray(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1))
        sheet.paste(tile, (x, y))
        _draw_caption(draw, weights, x, y + cell[1] + 4, cell[0])


def _draw_caption(draw: ImageDraw.ImageDraw, weights: Weights, x: int, y: int, width: int) -> None:
    """A bar divided as the label is, and a line for each part of it."""
    draw.rectangle((x, y, x + width - 1, y + _BAR - 1), _REST)
    left = 0.0
    for color, (_, share) in zip(_SHARES, weights, strict=False):
        if round(share * width) > 0:
            ends = (x + round(left * width), x + min(round((left + share) * width), width) - 1)
            draw.rectangle((ends[0], y, max(ends), y + _BAR - 1), color)
        left = min(left + share, 1.0)
    y += _BAR + 4
    font = _font(_CAPTION)
    for color, (label, share) in zip(_SHARES, weights, strict=False):
        number = f"{share:.2f}"
        draw.text((x, y), number, color, _font(_CAPTION, bold=True))
        indent = math.ceil(_font(_CAPTION, bold=True).getlength(number)) + 6
        draw.text((x + indent, y), _shortened(label, font, width - indent), _INK, font)
        y += _CAPTION + 5


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, font, width) for line in lines]


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: Pillow's own font has only Latin letters."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
