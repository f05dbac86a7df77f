"""Legends: classes with their colours."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from inceptionnext_jax.data.label_maps import Color
from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER, sans, shorten

ROW, FONT = 24, 14  # pixels from line to line; font size
_SWATCH, _SPACE, _GAP = 16, 8, 24


class Entry(NamedTuple):
    """A line of a legend.

    Attributes:
      color: The colour of a class.
      name: Its name.
      note: At the end of the line, such as "12.3 %".
    """

    color: Color
    name: str
    note: str = ""


def draw_legend(entries: Sequence[Entry], width: int) -> Image.Image:
    """Draws a legend in as many columns as fit into a width in pixels."""
    widths = [_width(entry) for entry in entries]
    column = min(max(widths, default=0) + _GAP, width)
    columns = max(1, (width + _GAP) // column)
    page = Image.new("RGB", (width, -(-len(entries) // columns) * ROW + ROW // 2), PAPER)
    draw = ImageDraw.Draw(page)
    for i, (entry, needed) in enumerate(zip(entries, widths, strict=True)):
        left, top = i % columns * column, i // columns * ROW
        draw_entry(draw, entry, left, top, min(needed, column))
    return page


def draw_entry(draw: ImageDraw.ImageDraw, entry: Entry, x: int, y: int, width: int) -> None:
    """Draws a line of a legend; a name that is too long for the width is cut."""
    font, bold = sans(FONT), sans(FONT, bold=True)
    # A frame, since a colour may be that of the paper.
    draw.rectangle((x, y, x + _SWATCH - 1, y + _SWATCH - 1), entry.color, FAINT)
    right = x + width - math.ceil(bold.getlength(entry.note))
    left = x + _SWATCH + _SPACE
    draw.text((left, y), shorten(entry.name, font, right - left - _SPACE), INK, font)
    draw.text((right, y), entry.note, INK, bold)


def _width(entry: Entry) -> int:
    """Returns the pixels that a line needs."""
    text = sans(FONT).getlength(entry.name) + sans(FONT, bold=True).getlength(entry.note)
    return _SWATCH + 2 * _SPACE + math.ceil(text) + 1
