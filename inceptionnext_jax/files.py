"""Atomic file writes and the package's cache folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(*names: str) -> Path:
    """A folder in this package's cache: below XDG_CACHE_HOME, or ~/.cache if that is not set."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root.joinpath("inceptionnext_jax", *names)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields a temporary file beside `path` that replaces it when the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that is never seen half written."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
