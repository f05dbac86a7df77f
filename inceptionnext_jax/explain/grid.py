"""Pages with a title and pictures in rows and columns."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER, sans, shorten, wrap
from inceptionnext_jax.explain.legend import Entry, draw_legend


class Style(NamedTuple):
    """Sizes of a page, in pixels.

    Attributes:
      gap: Between pictures.
      margin: Around the page.
      title: Font size of the title.
      text: Font size of lines and headings.
      heading_gap: Between a row's heading and its pictures.
      min_width: Smallest width of the page without margins, for the title.
    """

    gap: int = 10
    margin: int = 26
    title: int = 22
    text: int = 14
    heading_gap: int = 10
    min_width: int = 460


def draw_grid(
    title: str,
    lines: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    *,
    columns: Sequence[str] = (),
    headings: Sequence[str] = (),
    legend: Sequence[Entry] = (),
    style: Style | None = None,
) -> Image.Image:
    """Draws pictures of one size in rows, below a title and lines of text.

    Args:
      title: Wrapped if it is wider than the page, like the lines.
      lines: Below the title.
      rows: The longest determines the width.
      columns: Names above the columns, or none.
      headings: A line above each row, or none.
      legend: Classes and their colours, between the lines and the rows, or none.
      style: Sizes; None for the default.
    """
    style = style or Style()
    width, height = rows[0][0].size
    steps = (width + style.gap, height + style.gap)
    inner = max(max(map(len, rows)) * steps[0] - style.gap, style.min_width)
    title_lines = wrap(title, sans(style.title, bold=True), inner)
    text_lines = [part for line in lines for part in wrap(line, sans(style.text), inner)]
    heading_height = style.text + style.heading_gap
    row_height = steps[1] + (heading_height if headings else 0)
    colors = draw_legend(legend, inner) if legend else Image.new("RGB", (1, 0))
    page_height = (
        2 * style.margin
        + colors.height
        + len(title_lines) * (style.title + 8)
        + len(text_lines) * (style.text + 7)
        + 8
        + (heading_height if columns else 0)
        + len(rows) * row_height
        - style.gap
    )
    page = Image.new("RGB", (inner + 2 * style.margin, page_height), PAPER)
    draw = ImageDraw.Draw(page)
    y = _draw_title(draw, title_lines, text_lines, style)
    page.paste(colors, (style.margin, y))
    y += colors.height
    bold = sans(style.text, bold=True)
    for i, name in enumerate(columns):
        draw.text((style.margin + i * steps[0], y), shorten(name, bold, width), INK, bold)
    y += heading_height if columns else 0
    for j, row in enumerate(rows):
        if headings:
            draw.text((style.margin, y), headings[j], INK, bold)
        top = y + (heading_height if headings else 0)
        for i, picture in enumerate(row):
            page.paste(picture, (style.margin + i * steps[0], top))
        y += row_height
    return page


def _draw_title(
    draw: ImageDraw.ImageDraw, titles: Sequence[str], lines: Sequence[str], style: Style
) -> int:
    """Draws title and lines at the page's top; returns where the rest begins."""
    y = style.margin
    for text in titles:
        draw.text((style.margin, y), text, INK, sans(style.title, bold=True))
        y += style.title + 8
    for text in lines:
        draw.text((style.margin, y), text, FAINT, sans(style.text))
        y += style.text + 7
    return y + 8
