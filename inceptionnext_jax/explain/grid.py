"""Pictures in rows and columns, each with a line of text on it."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER, sans, shortened, wrapped

_TILE = 224  # pixels; pictures are brought to this size
_GAP, _MARGIN, _BAND = 10, 26, 22
_TITLE, _TEXT, _CAPTION = 22, 14, 13  # font sizes
_NARROWEST = 460  # so that the title has room
_TONES = {"plain": "#ffffff", "right": "#7ee08a", "wrong": "#ff9a8a"}


class Tile(NamedTuple):
    """A picture with what is printed on its lower edge.

    Attributes:
      pixels: [S, S, 3] uint8.
      text: One line; empty for none.
      tone: Of the text: "right" and "wrong" are told apart by colour and by a sign.
    """

    pixels: np.ndarray
    text: str = ""
    tone: Literal["plain", "right", "wrong"] = "plain"


def picture_grid(
    title: str, lines: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Tile]]
) -> Image.Image:
    """Draws rows of tiles below the names of their columns, and title and lines above all."""
    inner = max(len(columns) * (_TILE + _GAP) - _GAP, _NARROWEST)
    titles = wrapped(title, sans(_TITLE, bold=True), inner)
    texts = [part for line in lines for part in wrapped(line, sans(_TEXT), inner)]
    top = _MARGIN + len(titles) * (_TITLE + 8) + len(texts) * (_TEXT + 7) + 8
    head = _TEXT + 10
    height = top + head + len(rows) * (_TILE + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for text in titles:
        draw.text((_MARGIN, y), text, INK, sans(_TITLE, bold=True))
        y += _TITLE + 8
    for text in texts:
        draw.text((_MARGIN, y), text, FAINT, sans(_TEXT))
        y += _TEXT + 7
    for i, name in enumerate(columns):
        font = sans(_TEXT, bold=True)
        draw.text((_MARGIN + i * (_TILE + _GAP), top), shortened(name, font, _TILE), INK, font)
    for j, row in enumerate(rows):
        for i, tile in enumerate(row):
            place = (_MARGIN + i * (_TILE + _GAP), top + head + j * (_TILE + _GAP))
            sheet.paste(_drawn(tile), place)
    return sheet


def _drawn(tile: Tile) -> Image.Image:
    picture = Image.fromarray(tile.pixels)
    factor = _TILE / max(picture.size)
    # Small pictures keep square pixels: nobody should take interpolation for detail.
    how = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.BICUBIC
    size = tuple(max(1, math.floor(side * factor)) for side in picture.size)
    picture = picture.resize((size[0], size[1]), how)
    if not tile.text:
        return picture
    band = Image.new("RGB", (picture.width, _BAND), "#000000")
    place = (0, picture.height - _BAND)
    below = picture.crop((0, place[1], picture.width, picture.height))
    picture.paste(Image.blend(below, band, 0.65), place)
    font = sans(_CAPTION)
    sign = {"right": "✓ ", "wrong": "✗ ", "plain": ""}[tile.tone]
    text = shortened(sign + tile.text, font, picture.width - 10)
    ImageDraw.Draw(picture).text((5, place[1] + 3), text, _TONES[tile.tone], font)
    return picture
