"""Images that users give: files, bytes and arrays, read one after the other."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from inceptionnext_jax.errors import UserError

Image = str | Path | bytes | np.ndarray | tuple[str, bytes]
Unreadable = Callable[[UserError], None]
_Prepared = TypeVar("_Prepared")


def prepared(
    images: Iterable[Image],
    prepare: Callable[[bytes | np.ndarray, str], _Prepared],
    unreadable: Unreadable | None,
) -> Iterator[tuple[str, _Prepared]]:
    """Yields (path or name, the prepared image) of each image, in order.

    Args:
      images: Paths, encoded files, (name, encoded file), or arrays [H, W, 3] uint8.
      prepare: Called with an image and its name.
      unreadable: Called with the error of an unreadable image, which is left out; None raises it.
    """
    for index, image in enumerate(images):
        path, data = image if isinstance(image, tuple) else (f"image {index}", image)
        try:
            if isinstance(data, str | Path):
                path, data = str(data), read_image(data)
            found = prepare(data, path)
        except UserError as error:
            if unreadable is None:
                raise
            unreadable(error)
            continue
        yield path, found


def read_image(path: str | Path) -> bytes:
    """Returns the bytes of an image file; raises UserError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read image {path}: {why}") from error
