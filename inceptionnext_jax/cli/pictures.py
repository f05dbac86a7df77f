"""Pictures that commands write: the --to option and the files."""

import argparse
from pathlib import Path
from typing import Any

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import check_file_target, replaced, writing


def add_target(parser: Any) -> None:
    """Adds --to to a parser or a group of its options; `picture_target` takes its value."""
    parser.add_argument("--to", required=True, metavar="FILE.png", help="the picture to write")


def picture_target(args: argparse.Namespace) -> Path:
    """The path of --to; raises UserError, before any work, if no PNG can be written there."""
    return picture_path(args.to)


def picture_path(to: str) -> Path:
    """The path that --to names; raises UserError if no PNG can be written there."""
    target = Path(to).expanduser()
    if target.suffix.lower() != ".png":
        raise UserError(f"--to={to} must end in .png")
    check_file_target(target, f"--to={to}")
    return target


def save_picture(picture: Any, target: Path, arrays: dict[str, Any] | None = None) -> None:
    """Writes a picture, and arrays into an .npz file beside it, each as a whole or not at all."""
    with writing(f"--to={target}"):
        with replaced(target) as temporary:
            picture.save(temporary, format="PNG")
        if arrays is not None:
            import numpy as np

            with replaced(target.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
