"""`predict`: the most likely classes of images, or of each of their pixels, or their objects."""

import argparse
import json
from typing import TYPE_CHECKING, Any, Protocol

from inceptionnext_jax.cli.images import add_image_arguments, find_images
from inceptionnext_jax.cli.label_map_files import LabelMapFiles
from inceptionnext_jax.cli.object_files import ObjectFiles, described
from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.sources import add_source_options, load
from inceptionnext_jax.errors import UserError, print_error

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Detection, Prediction, Pretrained, Segmentation

_DESCRIPTION = """\
Prints the most likely classes of images: the image's path, and below it a line for each class with
rank, probability and name, separated by tabs. --json prints one line for each image instead:
{"path": …, "classes": [{"rank": 1, "class": 3, "name": …, "probability": …}, …]}.

Of a network of segmentation, the classes in an image are listed, the largest first, with the shares
of its area that they cover. --to DIR writes for each image, at its own size,
  NAME_labels.png   a palette PNG whose values are the numbers of the classes, counted from 0 (with
                    more than 256 classes 16-bit grey)
  NAME_overlay.png  the image with the colours of the classes over it, and a legend
NAME is the image's name without its suffix; the second image of a name is NAME-2, the third NAME-3.
Files that are there already are replaced. --json prints {"path": …, "size": [height, width],
"classes": [{"class": 3, "name": …, "share": …}, …], "labels": PATH, "overlay": PATH}.

Of a detector, the objects in an image are listed, the likeliest first: rank, score, name, and the
box as x1, y1, x2, y2 in the image's own pixels. --to DIR writes for each image
  NAME_picture.png      the image with boxes, masks, names and scores over it
  NAME_detections.json  what --json prints: {"path": …, "size": [height, width], "objects":
                        [{"class": 3, "name": …, "score": …, "box": [x1, y1, x2, y2],
                        "mask": {"size": …, "counts": COCO's compressed run lengths}}, …]}
--threshold is the lowest score of all of these; 0 gives everything that evaluation scores.

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

  python main.py --config=configs/segmentation/digits.py --workdir=out/seg \\
      --config.total_steps=4 --config.schedule.warmup_steps=1 --config.model.stage_depths="(1,1,1,1)"
  python -m inceptionnext_jax predict out/seg out/three.png --to out/maps --json

  python main.py --config=configs/detection/digits.py:debug --workdir=out/det
  python -m inceptionnext_jax predict out/det out/three.png --to out/objects --threshold 0.1

with a network:
  python -m inceptionnext_jax predict inceptionnext_tiny photo.jpg
  python -m inceptionnext_jax predict upernet_convnext_tiny photo.jpg --to maps
"""  # noqa: E501


def add_parser(subparsers: Any) -> None:
    """Adds `predict` to the command line."""
    parser = add_command(
        subparsers,
        "predict",
        help="the most likely classes of images, label maps, or objects",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "MODEL")
    add_image_arguments(parser)
    for name, metavar, what in (
        (
            "topk",
            "K",
            "classes or objects of each image (default: 5; all of a label map, and all objects)",
        ),
        ("batch-size", "N", "images computed at once (default: 32; one for label maps, objects)"),
    ):
        parser.add_argument(f"--{name}", type=positive, metavar=metavar, help=what)
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="lowest score of objects (default: 0.3)"
    )
    parser.add_argument("--to", metavar="DIR", help="the folder for label maps or objects")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


class Output(Protocol):
    """The answers of one kind of network, printed and written.

    Its arguments are the network and the folder for files, or None.
    """

    def __init__(self, loaded: "Pretrained", to: str | None): ...

    def text(self, found: Any, as_json: bool) -> str:
        """Returns the lines about an image; files about it are written before."""


def run(args: argparse.Namespace) -> int:
    """Prints the predictions; returns 2 if an image cannot be read."""
    from inceptionnext_jax.models import model_info
    from inceptionnext_jax.pretrained import predict
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    images = list(find_images(args.images))
    cache_compilations()
    loaded = load(args)
    output = _OUTPUTS[model_info(loaded.name).task](loaded, args.to)
    failures: list[UserError] = []

    def report(error: UserError) -> None:
        failures.append(error)
        print_error(error)

    for found in predict(loaded, images, args.topk, args.batch_size, report, args.threshold):
        print(output.text(found, args.json), flush=True)
    return 2 if failures else 0


class _Classes:
    """Classes with their probabilities."""

    def __init__(self, loaded: "Pretrained", to: str | None):
        if to is not None:
            raise UserError(
                f"--to={to} is for label maps and objects, and {loaded.name} is a classifier; "
                f"leave it out"
            )

    def text(self, found: "Prediction", as_json: bool) -> str:
        if not as_json:
            return _lines(found.path, found.probabilities, found.names)
        classes = [
            {"rank": rank, "class": int(index), "name": name, "probability": float(probability)}
            for rank, (index, probability, name) in enumerate(
                zip(found.classes, found.probabilities, found.names, strict=True), start=1
            )
        ]
        return json.dumps({"path": found.path, "classes": classes})


class _LabelMaps:
    """Classes with their areas, and files if there is a folder for them."""

    def __init__(self, loaded: "Pretrained", to: str | None):
        self._files = None if to is None else LabelMapFiles(to, loaded.colors)

    def text(self, found: "Segmentation", as_json: bool) -> str:
        written = {} if self._files is None else self._files.write(found)
        if not as_json:
            return _lines(found.path, found.shares, found.names)
        classes = [
            {"class": int(index), "name": name, "share": float(share)}
            for index, name, share in zip(found.classes, found.names, found.shares, strict=True)
        ]
        size = list(found.label_map.shape)
        return json.dumps({"path": found.path, "size": size, "classes": classes, **written})


class _Objects:
    """Objects, and files if there is a folder for them."""

    def __init__(self, loaded: "Pretrained", to: str | None):
        self._files = None if to is None else ObjectFiles(to, loaded.colors)

    def text(self, found: "Detection", as_json: bool) -> str:
        written = {} if self._files is None else self._files.write(found)
        if as_json:
            return json.dumps({**described(found), **written})
        boxes = ("\t".join(f"{side:.1f}" for side in box) for box in found.boxes)
        rows = zip(found.scores, found.names, boxes, strict=True)
        lines = [
            f"{rank}\t{score:.4f}\t{name}\t{box}"
            for rank, (score, name, box) in enumerate(rows, start=1)
        ]
        return "\n".join([found.path, *lines])


_OUTPUTS: dict[str, type[Output]] = {
    "classification": _Classes,
    "segmentation": _LabelMaps,
    "detection": _Objects,
}


def _lines(path: str, numbers: Any, names: list[str]) -> str:
    rows = [
        f"{rank}\t{number:.4f}\t{name}"
        for rank, (number, name) in enumerate(zip(numbers, names, strict=True), start=1)
    ]
    return "\n".join([path, *rows])
