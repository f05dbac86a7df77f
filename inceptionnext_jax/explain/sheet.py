"""A contact sheet: rows of images with their labels and how much each label weighs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER, sans, shortened, wrapped

Weights = Sequence[tuple[str, float]]  # (label, share), the largest first

_TILE = 168  # pixels; smaller images are enlarged by whole factors until they are about so wide
_GAP, _MARGIN = 12, 28
_BAR = 6  # height of the bar of shares
_NARROWEST = 480  # so that the title has room
_TITLE, _TEXT, _CAPTION = 24, 15, 13  # font sizes
_REST = "#d5dae0"
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
    texts = [part for line in lines for part in wrapped(line, sans(_TEXT), inner)]
    titles = wrapped(title, sans(_TITLE, bold=True), inner)
    top = _MARGIN + len(titles) * (_TITLE + 8) + len(texts) * (_TEXT + 7) + 8
    row_height = _TEXT + 12 + cell[1] + below + _GAP
    size = (inner + 2 * _MARGIN, top + len(rows) * row_height + _MARGIN - _GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for text in titles:
        draw.text((_MARGIN, y), text, INK, sans(_TITLE, bold=True))
        y += _TITLE + 8
    for text in texts:
        draw.text((_MARGIN, y), text, FAINT, sans(_TEXT))
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
    draw.text((_MARGIN, top), row.heading, INK, sans(_TEXT, bold=True))
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
    font = sans(_CAPTION)
    for color, (label, share) in zip(_SHARES, weights, strict=False):
        number = f"{share:.2f}"
        draw.text((x, y), number, color, sans(_CAPTION, bold=True))
        indent = math.ceil(sans(_CAPTION, bold=True).getlength(number)) + 6
        draw.text((x + indent, y), shortened(label, font, width - indent), INK, font)
        y += _CAPTION + 5
