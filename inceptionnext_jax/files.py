"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inceptionnext_jax.errors import RunError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Gives a temporary file beside `path` that takes its place when the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def explaining_disk(workdir: Path) -> Iterator[None]:
    """Raises RunError for a file that cannot be read or written: disks fill up, folders vanish."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or workdir} cannot be used ({error.strerror or error}); make room or "
            f"mend the folder and run it again: checkpoints that are there stay as they are"
        ) from error
