"""Images with any number of labels each: DIR/{train,val}.csv beside the files that they name.

file,labels
photos/0001.jpg,cat;sofa
photos/0002.jpg,
"""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inceptionnext_jax.data.dataset import Example, Source
from inceptionnext_jax.errors import UserError, suggestion

HEADER = ("file", "labels")
_SEPARATOR = re.compile(r"[;\s]+")


class Row(NamedTuple):
    """One line of a CSV: its number, an image's path below DIR, and its labels."""

    line: int
    file: str
    labels: frozenset[str]


@dataclass(frozen=True)
class MultiLabelSource:
    """Image files with several labels each.

    files: the images, as a source of one label each, which is not used.
    labels: [N, K] uint8, 1 where an image has a label.
    """

    files: Source
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        return self.files[index]._replace(label=self.labels[index])


def read_rows(path: Path, root: Path) -> list[Row]:
    """Reads a CSV and checks that it names existing files inside `root`, each once.

    Raises UserError, naming the line, for the first that does not; links that leave `root` do not.
    """
    rows, seen = [], set()
    inside = os.path.realpath(root) + os.sep
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(name.strip() for name in next(reader, []))
            if header != HEADER:
                raise UserError(f"{path} begins with {','.join(header)!r}, expected 'file,labels'")
            for cells in filter(None, reader):
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(HEADER):
                    raise UserError(f"{where}: {len(cells)} columns, expected file,labels")
                name = cells[0]
                if not _is_inside(root, name, inside):
                    raise UserError(
                        f"{where}: {name!r} is no path of a file inside {root}; give it relative "
                        f"to that folder, without '..' and without links that leave it"
                    )
                if name in seen:
                    raise UserError(f"{where}: {name!r} is there twice; join its labels")
                seen.add(name)
                labels = frozenset(filter(None, _SEPARATOR.split(cells[1])))
                rows.append(Row(reader.line_num, name, labels))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable CSV file in UTF-8 ({error})") from error
    if not any(row.labels for row in rows):
        raise UserError(f"{path} gives no image a label; expected lines such as a.jpg,cat;sofa")
    return rows


def _is_inside(root: Path, name: str, inside: str) -> bool:
    if not name or "\0" in name or os.path.isabs(name) or ".." in Path(name).parts:
        return False
    real = os.path.realpath(root / name)
    return real.startswith(inside) and os.path.isfile(real)


def multi_hot(rows: list[Row], class_names: tuple[str, ...], path: Path) -> np.ndarray:
    """[N, K] uint8. Raises UserError, naming the line of `path`, for an unknown label."""
    number = {name: index for index, name in enumerate(class_names)}
    labels = np.zeros((len(rows), len(class_names)), np.uint8)
    for index, row in enumerate(rows):
        for label in row.labels:
            if label not in number:
                raise UserError(
                    f"{path}, line {row.line}: label {label!r} is none of the training "
                    f"images'{suggestion(label, class_names)}"
                )
            labels[index, number[label]] = 1
    return labels
