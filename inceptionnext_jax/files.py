"""Output paths and atomic writes; the package's cache folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inceptionnext_jax.errors import UserError


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


def check_file_target(path: Path, shown: str, hint: str = "name a file") -> None:
    """Refuses a path that no file can be written to.

    Args:
      path: Path of the file.
      shown: The path as messages name it, such as "--to=picture.png".
      hint: Advice if the path is a folder.

    Raises:
      UserError: It is a folder, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise UserError(f"{shown} is a folder; {hint}")
    if not path.parent.is_dir():
        raise UserError(f"{shown}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{shown} cannot be written: no permission in folder {path.parent}")


def check_folder_target(path: Path, shown: str, hint: str = "name a folder") -> None:
    """Raises UserError for the path of a file; arguments are those of `check_file_target`."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{shown} is a file; {hint}")


@contextmanager
def writing(shown: str) -> Iterator[None]:
    """Turns an OSError of the block into a UserError that names the output as `shown`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{shown} cannot be written ({error.strerror or error})") from error
