"""Fonts, text fitted to a width, and the colours of both."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

INK, FAINT, PAPER = "#1b1f24", "#66707c", "#ffffff"


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Splits text into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [shorten(line, font, width) for line in lines]


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Cuts text that is wider than `width` pixels and ends it with an ellipsis."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def sans(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib; Pillow's own font has only Latin letters."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
