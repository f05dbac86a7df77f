"""What sub-commands that draw have in common."""

import argparse
import os
from pathlib import Path
from typing import Any

from inceptionnext_jax.errors import UserError


def positive(text: str) -> int:
    """The type of flags that take a whole number ≥ 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number ≥ 1")
    return number


def checked_target(to: str) -> Path:
    """The path of --to; refuses before the work what cannot be written after it."""
    target = Path(to).expanduser()
    if target.suffix.lower() != ".png":
        raise UserError(f"--to={to} must end in .png")
    if target.is_dir():
        raise UserError(f"--to={to} is a folder; name a file")
    if not target.parent.is_dir():
        raise UserError(f"--to={to}: there is no folder {target.parent}; make it first")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"--to={to} cannot be written: no permission in folder {target.parent}")
    return target


def save_picture(picture: Any, target: Path, arrays: dict[str, Any] | None = None) -> None:
    """Writes a picture, and arrays into an .npz file beside it, each as a whole or not at all."""
    from inceptionnext_jax.files import replaced

    try:
        with replaced(target) as temporary:
            picture.save(temporary, format="PNG")
        if arrays is not None:
            import numpy as np

            with replaced(target.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
    except OSError as error:
        raise UserError(f"--to={target} cannot be written ({error.strerror or error})") from error
