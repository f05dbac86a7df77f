"""Single pictures of a grid: images with a line of text on them, or with labels below."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from inceptionnext_jax.explain.fonts import INK, PAPER, sans, shorten
from inceptionnext_jax.explain.grid import Style

Tone = Literal["plain", "right", "wrong"]
Weights = Sequence[tuple[str, float]]  # (label, share), the largest first

_SIDE = 224  # pixels of a captioned image
_BAND, _CAPTION = 22, 13  # height of the band behind a caption; font size
_TONES = {"plain": "#ffffff", "right": "#7ee08a", "wrong": "#ff9a8a"}

LABELLED_STYLE = Style(gap=12, margin=28, title=24, text=15, heading_gap=12, min_width=480)
_LABELLED_SIDE = 168  # pixels; labelled images are enlarged by a whole factor to about this width
_BAR = 6  # height of the bar of shares
_REST = "#d5dae0"
_SHARES = ("#2563a8", "#e08a1e", "#3f9b6d")  # of the first, second and third label


def captioned(pixels: np.ndarray, text: str = "", tone: Tone = "plain") -> Image.Image:
    """Resizes an image to the grid's size and prints a line on its lower edge.

    Args:
      pixels: [S, S, 3] uint8.
      text: Empty for none.
      tone: "right" and "wrong" are marked by colour and by a sign.
    """
    # Small images keep square pixels, so that interpolation is not mistaken for detail.
    is_small = 2 * len(pixels) <= _SIDE
    how = Image.Resampling.NEAREST if is_small else Image.Resampling.BICUBIC
    picture = Image.fromarray(pixels).resize((_SIDE, _SIDE), how)
    if not text:
        return picture
    band = Image.new("RGB", (_SIDE, _BAND), "#000000")
    top = _SIDE - _BAND
    below = picture.crop((0, top, _SIDE, _SIDE))
    picture.paste(Image.blend(below, band, 0.65), (0, top))
    font = sans(_CAPTION)
    sign = {"right": "✓ ", "wrong": "✗ ", "plain": ""}[tone]
    text = shorten(sign + text, font, _SIDE - 10)
    ImageDraw.Draw(picture).text((5, top + 3), text, _TONES[tone], font)
    return picture


def labelled(pixels: np.ndarray, weights: Weights, lines: int) -> Image.Image:
    """Enlarges an image by a whole factor and draws its labels with their shares below.

    Args:
      pixels: [H, W, 3] uint8.
      weights: Labels and shares.
      lines: Number of labels to leave room for.
    """
    factor = max(1, round(_LABELLED_SIDE / pixels.shape[1]))
    large = Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    below = 4 + _BAR + 4 + lines * (_CAPTION + 5)
    tile = Image.new("RGB", (max(large.width, _LABELLED_SIDE // 2), large.height + below), PAPER)
    tile.paste(large, (0, 0))
    _draw_weights(ImageDraw.Draw(tile), weights, large.height + 4, tile.width)
    return tile


def _draw_weights(draw: ImageDraw.ImageDraw, weights: Weights, y: int, width: int) -> None:
    """Draws a bar divided by the shares, and a line for each label."""
    draw.rectangle((0, y, width - 1, y + _BAR - 1), _REST)
    left = 0.0
    for color, (_, share) in zip(_SHARES, weights, strict=False):
        if round(share * width) > 0:
            ends = (round(left * width), min(round((left + share) * width), width) - 1)
            draw.rectangle((ends[0], y, max(ends), y + _BAR - 1), color)
        left = min(left + share, 1.0)
    y += _BAR + 4
    font, bold = sans(_CAPTION), sans(_CAPTION, bold=True)
    for color, (label, share) in zip(_SHARES, weights, strict=False):
        number = f"{share:.2f}"
        draw.text((0, y), number, color, bold)
        indent = math.ceil(bold.getlength(number)) + 6
        draw.text((indent, y), shorten(label, font, width - indent), INK, font)
        y += _CAPTION + 5
