"""Class lists of label maps: one class a line, with or without a colour.

background 0 0 0
traffic light 250 170 30
- 224 224 192

A name may have spaces. The line "-" gives a colour to pixels without a label and is no class.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from inceptionnext_jax.data.label_maps import Color
from inceptionnext_jax.errors import UserError

_COLORED = re.compile(r"(.*\S)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")
_NO_LABEL = "-"


@dataclass(frozen=True)
class ClassList:
    """Classes in the order of their numbers.

    colors: one a class, or None where the list has none.
    ignored_colors: colours of pixels without a label.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None
    ignored_colors: tuple[Color, ...]


def read_class_list(path: Path) -> ClassList:
    """Reads a class list, in which two classes may have the same colour.

    Raises UserError, naming the line, for an empty line between others, a name that is there
    twice, a wrong colour, or classes with and without colours in one list.
    """
    try:
        lines = path.read_text("utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable text file in UTF-8 ({error})") from error
    names: dict[str, Color | None] = {}
    ignored: list[Color] = []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        name, color = _parsed(line.strip(), where)
        if name in names:
            raise UserError(f"{where}: class {name!r} is there twice; give each class one line")
        if name != _NO_LABEL:
            names[name] = color
        elif color is not None:
            ignored.append(color)
        else:
            raise UserError(f"{where}: '-' has no colour, expected a line such as '- 224 224 192'")
    if not names:
        raise UserError(f"{path} names no class, expected one class a line")
    plain = [name for name, color in names.items() if color is None]
    colors = tuple(color for color in names.values() if color is not None)
    if plain and (colors or ignored):
        raise UserError(
            f"{path} gives class {plain[0]!r} no colour, but others have one; give all classes a "
            f"colour (name, red, green, blue) or none"
        )
    return ClassList(tuple(names), colors or None, tuple(ignored))


def _parsed(line: str, where: str) -> tuple[str, Color | None]:
    """The name and the colour of a line."""
    if not line:
        raise UserError(f"{where} is empty; remove it, since a class's line gives its number")
    match = _COLORED.fullmatch(line)
    if match is None:
        return line, None
    red, green, blue = (int(value) for value in match.groups()[1:])
    if max(red, green, blue) > 255:
        raise UserError(f"{where}: colour {red} {green} {blue} is not in 0 to 255")
    return match[1], (red, green, blue)
