"""`predict`: the most likely classes of images."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.convert import add_source_options, load
from inceptionnext_jax.errors import UserError

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Prediction

_DESCRIPTION = """\
Prints the most likely classes of images: the image's path, and below it a line for each class with
rank, probability and name, separated by tabs. --json prints one line for each image instead:
{"path": …, "classes": [{"rank": 1, "class": 3, "name": …, "probability": …}, …]}.

Images are resized and cropped as in evaluation. IMAGE is a file, a folder (all images in it and
below, in the order of their names), or - for standard input: one image, or one path on each line.
What cannot be read is reported on standard error, the rest go on, and the exit code is 2.
"""
_EXAMPLES = """\
examples (the first trains on 1,438 digits for half a minute, to have something to predict with):
  python main.py --config=configs/digits.py --workdir=out/predict --config.total_steps=40 \\
      --config.model.stage_depths="(1,1,1,1)"
  python -c "from sklearn.datasets import load_digits; from PIL import Image; \\
      Image.fromarray((load_digits().images[3] * 15).astype('uint8')).save('out/three.png')"
  python -m inceptionnext_jax predict out/predict out/three.png
  python -m inceptionnext_jax predict out/predict out --topk 1 --json
  find out -name "*.png" | python -m inceptionnext_jax predict out/predict -

with a network:
  python -m inceptionnext_jax predict inceptionnext_tiny photo.jpg
"""


def add_parser(subparsers: Any) -> None:
    """Adds `predict` to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="the most likely classes of images",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_options(parser, "MODEL")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, or -")
    parser.add_argument("--topk", type=int, default=5, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the predictions; 2 when an image could not be read."""
    from inceptionnext_jax.pretrained import predict
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    images = list(find_images(args.images))
    cache_compilations()
    loaded = load(args)
    failures: list[UserError] = []

    def report(error: UserError) -> None:
        failures.append(error)
        print(f"error: {error}", file=sys.stderr)

    batch_size = min(args.batch_size, len(images)) if args.batch_size > 0 else args.batch_size
    for found in predict(loaded, images, args.topk, batch_size, report):
        print(_as_json(found) if args.json else _as_rows(found), flush=True)
    return 2 if failures else 0


def find_images(given: list[str]) -> Iterator[str | tuple[str, bytes]]:
    """Paths of images, or their bytes from standard input.

    Raises UserError for a folder without images and for an empty standard input; files that are
    not there are the reader's to report.
    """
    for name in given:
        if name == "-":
            yield from _from_stdin()
        elif Path(name).is_dir():
            yield from _in_folder(name)
        else:
            yield name


def _in_folder(folder: str) -> Iterator[str]:
    from inceptionnext_jax.data.folder import IMAGE_SUFFIXES

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
    if b"\0" in data:  # as in every encoded image, and in no path
        yield "standard input", data
        return
    paths = [os.fsdecode(line) for line in data.splitlines() if line.strip()]
    if not paths:
        raise UserError("standard input is empty; expected an image, or a path on each line")
    yield from paths


def _as_rows(found: "Prediction") -> str:
    rows = [
        f"{rank}\t{probability:.4f}\t{name}"
        for rank, (probability, name) in enumerate(
            zip(found.probabilities, found.names, strict=True), start=1
        )
    ]
    return "\n".join([found.path, *rows])


def _as_json(found: "Prediction") -> str:
    classes = [
        {"rank": rank, "class": int(index), "name": name, "probability": float(probability)}
        for rank, (index, probability, name) in enumerate(
            zip(found.classes, found.probabilities, found.names, strict=True), start=1
        )
    ]
    return json.dumps({"path": found.path, "classes": classes})
