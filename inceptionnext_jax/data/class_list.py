"""Class lists of label maps: one class a line, with or without a colour or an id.

background 0 0 0
traffic light 250 170 30
- 224 224 192

A name may have spaces. The line "-" gives a colour to pixels without a label and is no class.
Label maps with other ids than 0, 1, 2, … need them before the names:

0: background
255: object
7: -
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from inceptionnext_jax.data.label_maps import MAX_ID, Color
from inceptionnext_jax.errors import UserError

_WITH_ID = re.compile(r"(\d{1,5})\s*:\s*(.+)")
_COLORED = re.compile(r"(.*\S)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")
_NO_LABEL = "-"


@dataclass(frozen=True)
class ClassList:
    """Classes in the order of their numbers.

    colors: one a class, or None where the list has none.
    ignored_colors: colours of pixels without a label.
    ids: one a class, or None where the list has none.
    ignored_ids: ids of pixels without a label.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None
    ignored_colors: tuple[Color, ...]
    ids: tuple[int, ...] | None = None
    ignored_ids: tuple[int, ...] = ()


class _Line(NamedTuple):
    name: str
    id: int | None
    color: Color | None


def read_class_list(path: Path) -> ClassList:
    """Reads a class list, in which two classes may have the same colour.

    Raises UserError, naming the line, for an empty line between others, a name or an id that is
    there twice, a wrong colour or id, or classes with and without colours or ids in one list.
    """
    try:
        texts = path.read_text("utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable text file in UTF-8 ({error})") from error
    classes: dict[str, _Line] = {}
    ignored: list[_Line] = []
    ids: set[int] = set()
    for number, text in enumerate(texts, 1):
        where = f"{path}, line {number}"
        line = _parsed(text.strip(), where)
        if line.name in classes:
            raise UserError(f"{where}: class {line.name!r} is there twice; give each one line")
        if line.id in ids:
            raise UserError(f"{where}: id {line.id} is there twice; give each class its own")
        if line.id is not None:
            ids.add(line.id)
        if line.name != _NO_LABEL:
            classes[line.name] = line
        elif line.color is not None or line.id is not None:
            ignored.append(line)
        else:
            raise UserError(
                f"{where}: '-' has no colour, expected a line such as '- 224 224 192', or '7: -' "
                f"for an id"
            )
    if not classes:
        raise UserError(f"{path} names no class, expected one class a line")
    colors = _all_or_none(path, classes, [line.color for line in ignored], "colour", "sky 0 0 255")
    own_ids = _all_or_none(path, classes, [line.id for line in ignored], "id", "7: sky")
    return ClassList(
        names=tuple(classes),
        colors=colors,
        ignored_colors=tuple(line.color for line in ignored if line.color is not None),
        ids=own_ids,
        ignored_ids=tuple(line.id for line in ignored if line.id is not None),
    )


def _all_or_none(
    path: Path, classes: dict[str, _Line], ignored: list[Any], what: str, example: str
) -> tuple[Any, ...] | None:
    """The colours or ids of all classes; None where neither a class nor a line "-" has one."""
    each = [line.color if what == "colour" else line.id for line in classes.values()]
    plain = [name for name, value in zip(classes, each, strict=True) if value is None]
    if len(plain) == len(each) and not any(value is not None for value in ignored):
        return None
    if plain:
        raise UserError(
            f"{path} gives class {plain[0]!r} no {what}, but others have one; give all classes "
            f"one (such as {example!r}) or none"
        )
    return tuple(each)


def _parsed(text: str, where: str) -> _Line:
    if not text:
        raise UserError(f"{where} is empty; remove it, since a class's line gives its number")
    number = None
    if match := _WITH_ID.fullmatch(text):
        number, text = int(match[1]), match[2]
        if number > MAX_ID:
            raise UserError(f"{where}: id {number} is not in 0 to {MAX_ID}")
    match = _COLORED.fullmatch(text)
    if match is None:
        return _Line(text, number, None)
    red, green, blue = (int(value) for value in match.groups()[1:])
    if max(red, green, blue) > 255:
        raise UserError(f"{where}: colour {red} {green} {blue} is not in 0 to 255")
    return _Line(match[1], number, (red, green, blue))
