"""`explain cam`: heat maps of the regions in which networks see a class."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.images import add_image_arguments, read_images
from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.pictures import add_target, picture_target, save_picture
from inceptionnext_jax.cli.sources import (
    add_beside,
    add_source_options,
    column_names,
    load_networks,
)

if TYPE_CHECKING:
    from inceptionnext_jax.explain.images import Explanation
    from inceptionnext_jax.explain.tiles import Tone
    from inceptionnext_jax.pretrained import Pretrained

_DESCRIPTION = """\
Draws Grad-CAM or Grad-CAM++ heat maps of classifiers over images: a row for each image, a column for
each network, on each map the explained class and its probability. If an image's folder has the name
of a class, that is its label, and answers are marked as right (✓) or wrong (✗).

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


def add_parser(kinds: Any) -> None:
    """Adds `explain cam` to the command line."""
    parser = add_command(
        kinds,
        "cam",
        help="heat maps of the regions in which networks see a class",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "MODEL")
    add_image_arguments(parser)
    add_target(parser)
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
        type=positive,
        choices=(8, 16, 32),
        metavar="N",
        help="stride of the last stage's map, 8, 16 or 32 pixels, by dilation",
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="name or number to explain (default: the likeliest)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draws the grid; returns 2 if an image cannot be read."""
    target = picture_target(args)
    from inceptionnext_jax.explain.grid import draw_grid
    from inceptionnext_jax.explain.heat import normalised, overlaid
    from inceptionnext_jax.explain.images import explain_images, find_class
    from inceptionnext_jax.explain.tiles import captioned
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    cache_compilations()
    networks = load_networks(args, output_stride=args.output_stride)
    paths, pixels, failures = read_images(args.images, networks)
    found = []
    for network, images in zip(networks, pixels, strict=True):
        asked = None if args.target is None else find_class(network, args.target)
        found.append(explain_images(network, images, args.layer, args.method, asked))
    tiles = [[captioned(image) for image in pixels[0]]]
    for network, images, one in zip(networks, pixels, found, strict=True):
        overlays = map(overlaid, images, normalised(one.heat))
        captions = _captions(network, one, paths)
        tiles.append(
            [captioned(*item) for item in zip(overlays, *zip(*captions, strict=True), strict=True)]
        )
    kind = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}[args.method]
    layers = dict.fromkeys(one.layer for one in found)
    picture = draw_grid(
        f"{kind} at {', '.join(layers)}",
        ["From blue (least) to red (most), over each image's own range."],
        list(zip(*tiles, strict=True)),
        columns=["image", *column_names(args, networks)],
    )
    save_picture(picture, target, _arrays([args.source, *args.beside], paths, found))
    print(f"wrote {args.to}: {len(paths)} images × {len(networks)} networks")
    return 2 if failures else 0


def _captions(
    network: "Pretrained", found: "Explanation", paths: list[str]
) -> "list[tuple[str, Tone]]":
    """Class and probability of each image, and whether the answer is right."""
    names = network.readable_names
    captions: list[tuple[str, Tone]] = []
    for index, path in enumerate(paths):
        number, label = int(found.classes[index]), _label(network, path)
        text = f"{found.probabilities[index]:.2f} {names[number]}"
        if label is None:
            captions.append((text, "plain"))
        elif label == number:
            captions.append((text, "right"))
        else:
            captions.append((f"{text}, is {names[label]}", "wrong"))
    return captions


def _label(network: "Pretrained", path: str) -> int | None:
    """The class whose name the image's folder has, if any."""
    folder = Path(path).parent.name
    for names in (list(network.class_names), network.readable_names):
        if folder in names:
            return names.index(folder)
    return None


def _arrays(sources: list[str], paths: list[str], found: "list[Explanation]") -> dict[str, Any]:
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
