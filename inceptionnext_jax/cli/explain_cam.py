"""`explain cam`: where in images networks see the classes they name."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.convert import add_source_options, load
from inceptionnext_jax.cli.pictures import checked_target, save_picture
from inceptionnext_jax.cli.predict import find_images
from inceptionnext_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from inceptionnext_jax.explain.grid import Tile
    from inceptionnext_jax.explain.images import Explained
    from inceptionnext_jax.pretrained import Pretrained

_DESCRIPTION = """\
Draws Grad-CAM or Grad-CAM++ heat maps over images: a row for each image, a column for each network,
on each map the explained class and its probability. Where the folder of an image is called like one
of the classes, that is taken for its label, and right (✓) and wrong (✗) answers are told apart.

--to FILE.png also writes FILE.npz. For network i (0: MODEL, then those of --beside) it holds
  maps_i [N, h, w] float32, as large as the layer's output      heat_i [N, S, S], enlarged to the image
  classes_i [N], explained      probabilities_i [N], of these      source_i, layer_i, and paths [N]
"""  # noqa: E501
_EXAMPLES = """\
examples (the first trains on 1,438 digits for half a minute, to have something to explain):
  python main.py --config=configs/digits.py --workdir=out/explain --config.total_steps=40 \\
      --config.model.stage_depths="(1,1,1,1)"
  python -c "from sklearn.datasets import load_digits; from PIL import Image; \\
      Image.fromarray((load_digits().images[3] * 15).astype('uint8')).save('out/three.png')"
  python -m inceptionnext_jax explain cam out/explain out/three.png --to out/cam.png \\
      --layer stages_1
  python -m inceptionnext_jax explain cam out/explain out/three.png --to out/two.png \\
      --output-stride 8 --method gradcam++ --target 8 --beside out/explain

with a network:
  python -m inceptionnext_jax explain cam inceptionnext_tiny photo.jpg --to cam.png \\
      --beside convnext_tiny
"""


def add_kind(kinds: Any) -> None:
    """Adds `explain cam` to the command line."""
    parser = kinds.add_parser(
        "cam",
        help="heat maps of where networks see the classes they name",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_source_options(parser, "MODEL")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, or -")
    parser.add_argument("--to", required=True, metavar="FILE.png", help="the picture to write")
    add_beside(parser)
    parser.add_argument(
        "--method",
        choices=("gradcam", "gradcam++"),
        default="gradcam",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--layer", metavar="PATH", help="such as stages_2/blocks_0 (default: the last stage)"
    )
    parser.add_argument(
        "--output-stride",
        type=int,
        choices=(8, 16, 32),
        metavar="N",
        help="8, 16 or 32: pixels of a cell of the last stage's map, by dilation",
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="name or number to explain (default: the likeliest)"
    )
    parser.set_defaults(explain=explain_cam)


def add_beside(parser: argparse.ArgumentParser) -> None:
    """Adds --beside, which names further networks."""
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="SOURCE",
        help="another network beside the first, as MODEL; may be given several times",
    )


def explain_cam(args: argparse.Namespace) -> int:
    """Draws the grid; 2 when an image could not be read."""
    target = checked_target(args.to)
    from inceptionnext_jax.explain.grid import picture_grid
    from inceptionnext_jax.explain.images import explain_images, find_class
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    cache_compilations()
    networks = load_networks(args, output_stride=args.output_stride)
    paths, pixels, failures = read_images(args.images, networks)
    found = []
    for network, images in zip(networks, pixels, strict=True):
        asked = None if args.target is None else find_class(network, args.target)
        found.append(explain_images(network, images, args.layer, args.method, asked))
    columns = [_tiles(*item, paths) for item in zip(networks, pixels, found, strict=True)]
    originals = _originals(pixels[0])
    kind = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}[args.method]
    layers = dict.fromkeys(one.layer for one in found)
    picture = picture_grid(
        f"{kind} at {', '.join(layers)}",
        ["From blue (least) to red (most), over each image's own range."],
        ["image", *column_names(args, networks)],
        list(zip(originals, *columns, strict=True)),
    )
    save_picture(picture, target, _arrays([args.source, *args.beside], paths, found))
    print(f"wrote {args.to}: {len(paths)} images × {len(networks)} networks")
    return 2 if failures else 0


def load_networks(args: argparse.Namespace, **options: Any) -> "list[Pretrained]":
    """MODEL and what --beside names; options that are None are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    first = load(args, **given)
    plain = argparse.Namespace(**{**vars(args), "model": None, "key": None, "sha256": None})
    return [first, *(load(plain, source, **given) for source in args.beside)]


def column_names(args: argparse.Namespace, networks: "list[Pretrained]") -> list[str]:
    """What the networks are called; where that does not tell them apart, where they are from."""
    names = [network.name for network in networks]
    return names if len(set(names)) == len(names) else [args.source, *args.beside]


def read_images(
    given: list[str], networks: "list[Pretrained]"
) -> "tuple[list[str], list[np.ndarray], int]":
    """(paths, for each network [N, S, S, 3] uint8, how many were reported as unreadable)."""
    import numpy as np

    from inceptionnext_jax.pretrained.predictions import read_image

    paths: list[str] = []
    pixels: list[list[np.ndarray]] = [[] for _ in networks]
    failures = 0
    for image in find_images(given):
        try:
            path, data = image if isinstance(image, tuple) else (image, read_image(image))
            prepared = [network.preprocessing.pixels(data, path) for network in networks]
        except UserError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        paths.append(path)
        for column, one in zip(pixels, prepared, strict=True):
            column.append(one)
    if not paths:
        raise UserError("none of the images can be read; there is nothing to explain")
    return paths, [np.stack(column) for column in pixels], failures


def _originals(pixels: "np.ndarray") -> "list[Tile]":
    from inceptionnext_jax.explain.grid import Tile

    return [Tile(image) for image in pixels]


def _tiles(
    network: "Pretrained", pixels: "np.ndarray", found: "Explained", paths: list[str]
) -> "list[Tile]":
    from inceptionnext_jax.explain.grid import Tile
    from inceptionnext_jax.explain.heat import normalised, overlaid

    names = network.readable_names
    tiles = []
    for index, heat in enumerate(normalised(found.heat)):
        number = int(found.classes[index])
        text = f"{found.probabilities[index]:.2f} {names[number]}"
        label = _label(network, paths[index])
        tone = "plain" if label is None else "right" if label == number else "wrong"
        if tone == "wrong" and label is not None:
            text += f", is {names[label]}"
        tiles.append(Tile(overlaid(pixels[index], heat), text, tone))  # type: ignore[arg-type]
    return tiles


def _label(network: "Pretrained", path: str) -> int | None:
    """The class that the image's folder is called after, if any."""
    folder = Path(path).parent.name
    for names in (list(network.class_names), network.readable_names):
        if folder in names:
            return names.index(folder)
    return None


def _arrays(sources: list[str], paths: list[str], found: "list[Explained]") -> dict[str, Any]:
    arrays: dict[str, Any] = {"paths": paths}
    for index, (source, one) in enumerate(zip(sources, found, strict=True)):
        arrays |= {
            f"source_{index}": source,
            f"layer_{index}": one.layer,
            f"maps_{index}": one.maps,
            f"heat_{index}": one.heat,
            f"classes_{index}": one.classes,
            f"probabilities_{index}": one.probabilities,
        }
    return arrays
