"""Image arguments: files, folders and standard input."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from inceptionnext_jax.errors import UserError, print_error

if TYPE_CHECKING:
    import numpy as np

    from inceptionnext_jax.pretrained import Pretrained


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds IMAGE…, which `find_images` takes."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, or -")


def find_images(given: list[str]) -> Iterator[str | tuple[str, bytes]]:
    """Yields the paths of images, or (name, bytes) of an image on standard input.

    A missing file is left for its reader to report.

    Raises:
      UserError: A folder holds no images, or standard input is empty.
    """
    for name in given:
        if name == "-":
            yield from _from_stdin()
        elif Path(name).is_dir():
            yield from _in_folder(name)
        else:
            yield name


def read_images(
    given: list[str], networks: "list[Pretrained]"
) -> "tuple[list[str], list[np.ndarray], int]":
    """Reads images as each network's evaluation prepares them; reports unreadable ones.

    Returns:
      (paths, for each network [N, S, S, 3] uint8, number of unreadable images).

    Raises:
      UserError: No image can be read.
    """
    import numpy as np

    from inceptionnext_jax.pretrained.images import read_image

    paths: list[str] = []
    pixels: list[list[np.ndarray]] = [[] for _ in networks]
    failures = 0
    for image in find_images(given):
        try:
            path, data = image if isinstance(image, tuple) else (image, read_image(image))
            prepared = [network.preprocessing.pixels(data, path) for network in networks]
        except UserError as error:
            failures += 1
            print_error(error)
            continue
        paths.append(path)
        for column, one in zip(pixels, prepared, strict=True):
            column.append(one)
    if not paths:
        raise UserError("none of the images can be read; there is nothing to explain")
    return paths, [np.stack(column) for column in pixels], failures


def _in_folder(folder: str) -> Iterator[str]:
    from inceptionnext_jax.data.paths import IMAGE_SUFFIXES

    count = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith("."):
                count += 1
                yield os.path.join(parent, file)
    if not count:
        raise UserError(f"folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")


def _from_stdin() -> Iterator[str | tuple[str, bytes]]:
    data = sys.stdin.buffer.read()
    if b"\0" in data:  # encoded images contain null bytes, paths cannot
        yield "standard input", data
        return
    paths = [os.fsdecode(line) for line in data.splitlines() if line.strip()]
    if not paths:
        raise UserError("standard input is empty; expected an image, or a path on each line")
    yield from paths
