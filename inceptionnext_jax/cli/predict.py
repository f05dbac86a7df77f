"""`predict`: the most likely classes of images."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.images import add_image_arguments, find_images
from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.sources import add_source_options, load
from inceptionnext_jax.errors import UserError, print_error

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Prediction

_DESCRIPTION = """\
Prints the most likely classes of images: the image's path, and below it a line for each class with
rank, probability and name, separated by tabs. --json prints one line for each image instead:
{"path": …, "classes": [{"rank": 1, "class": 3, "name": …, "probability": …}, …]}.

Images are resized and cropped as in evaluation. IMAGE is a file, a folder (all images in it and
below, in the order of their names), or - for standard input: one image, or one path on each line.
An image that cannot be read is reported on standard error and left out; the exit code is then 2.
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
    parser = add_command(
        subparsers,
        "predict",
        help="the most likely classes of images",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "MODEL")
    add_image_arguments(parser)
    for name, default, metavar, what in (
        ("topk", 5, "K", "classes of each image"),
        ("batch-size", 32, "N", "images computed at once"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=positive, default=default, metavar=metavar, help=text)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the predictions; returns 2 if an image cannot be read."""
    from inceptionnext_jax.pretrained import predict
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    images = list(find_images(args.images))
    cache_compilations()
    loaded = load(args)
    failures: list[UserError] = []

    def report(error: UserError) -> None:
        failures.append(error)
        print_error(error)

    batch_size = min(args.batch_size, len(images))
    for found in predict(loaded, images, args.topk, batch_size, report):
        print(_as_json(found) if args.json else _as_rows(found), flush=True)
    return 2 if failures else 0


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
