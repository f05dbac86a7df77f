"""Files of a data set on disk: compact lists of paths, splits, reading."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inceptionnext_jax.errors import UserError

IMAGE_SUFFIXES = (
    ".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif",
)  # fmt: skip
EVAL_FOLDERS = ("val", "validation", "test")


@dataclass(frozen=True)
class PathList:
    """Paths below a folder.

    They are kept as one buffer, since a million strings would be slow to send to each worker.

    joined: all paths, UTF-8 with surrogates.
    ends: [N] int64, end of each path in `joined`.
    """

    root: str
    joined: bytes
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        """The path below `root`."""
        start = int(self.ends[index - 1]) if index else 0
        return os.fsdecode(self.joined[start : int(self.ends[index])])


def path_list(root: Path, paths: Iterable[str]) -> PathList:
    """Packs paths below `root`."""
    encoded = [os.fsencode(path) for path in paths]
    ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
    return PathList(str(root), b"".join(encoded), ends)


def read_bytes(path: str, what: str = "image") -> bytes:
    """Returns a file's content. Raises UserError, naming it, when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error


def find_split(root: Path, names: Iterable[str], suffix: str = "") -> Path | None:
    """The first of the folders `names` in `root` that exists; with a suffix, of such files.

    Raises UserError for a name that would lead out of `root`.
    """
    for name in names:
        inside = os.path.normpath(name) == name and name not in ("", ".", "..")
        if not inside or os.path.isabs(name) or os.sep in name:
            raise UserError(f"split {name!r} is not the name of a folder inside {root}")
        path = root / f"{name}{suffix}"
        if path.is_file() if suffix else path.is_dir():
            return path
    return None
