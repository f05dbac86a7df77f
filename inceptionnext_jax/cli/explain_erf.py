"""`explain erf`: effective receptive fields of networks."""

import argparse
from typing import Any

from inceptionnext_jax.cli.images import add_image_arguments, read_images
from inceptionnext_jax.cli.parser import add_command
from inceptionnext_jax.cli.pictures import add_target, picture_target, save_picture
from inceptionnext_jax.cli.sources import (
    add_beside,
    add_source_options,
    column_names,
    load_networks,
)

_DESCRIPTION = """\
Draws effective receptive fields, a column for each network: how much each pixel moves the centre of
the last stage's map, over all images. For some shares of all contributions, prints the part of the
image that the smallest centred square with that share covers: the larger, the farther it sees.
Of a network of segmentation, the last of the maps that its heads see counts.

--to FILE.png also writes FILE.npz with source_i and field_i [S, S] float64 for network i
(0: MODEL, then those of --beside).
"""
_EXAMPLES = """\
examples (the first trains on 1,438 digits for half a minute, to have something to explain):
  python main.py --config=configs/digits.py --workdir=out/explain --config.total_steps=40 \\
      --config.model.stage_depths="(1,1,1,1)"
  python -c "from sklearn.datasets import load_digits; from PIL import Image; \\
      Image.fromarray((load_digits().images[3] * 15).astype('uint8')).save('out/three.png')"
  python -m inceptionnext_jax explain erf out/explain out/three.png --to out/erf.png

with a network:
  python -m inceptionnext_jax explain erf inceptionnext_tiny photos --to erf.png \\
      --beside convnext_tiny
"""


def add_parser(kinds: Any) -> None:
    """Adds `explain erf` to the command line."""
    parser = add_command(
        kinds,
        "erf",
        help="effective receptive fields of networks",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "MODEL")
    add_image_arguments(parser)
    add_target(parser)
    add_beside(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draws the fields and prints their extent; returns 2 if an image cannot be read."""
    target = picture_target(args)
    import numpy as np

    from inceptionnext_jax.explain.grid import draw_grid
    from inceptionnext_jax.explain.heat import coloured
    from inceptionnext_jax.explain.images import receptive_field
    from inceptionnext_jax.explain.receptive_field import SHARES, area_shares
    from inceptionnext_jax.explain.tiles import captioned
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    cache_compilations()
    networks = load_networks(args)
    paths, pixels, failures = read_images(args.images, networks)
    fields = [receptive_field(*pair) for pair in zip(networks, pixels, strict=True)]
    tiles = []
    print("share of contributions\t" + "\t".join(f"{share:.0%}" for share in SHARES))
    for source, network, field in zip([args.source, *args.beside], networks, fields, strict=True):
        areas = area_shares(field)
        print(f"{source} ({network.name})\t" + "\t".join(f"{area:.1%}" for area in areas))
        shown = np.log10(1 + 999 * field / max(field.max(), np.finfo(float).tiny)) / 3
        text = f"half of it in {areas[SHARES.index(0.5)]:.1%} of the image"
        tiles.append(captioned(coloured(shown, "viridis"), text))
    lines = [
        f"Over {len(paths)} image{'s' * (len(paths) > 1)}; from blue to yellow on a logarithmic "
        "scale of three decades."
    ]
    names = column_names(args, networks)
    picture = draw_grid("Effective receptive field", lines, [tiles], columns=names)
    arrays = {
        key: value
        for index, (source, field) in enumerate(
            zip([args.source, *args.beside], fields, strict=True)
        )
        for key, value in ((f"source_{index}", source), (f"field_{index}", field))
    }
    save_picture(picture, target, arrays)
    print(f"wrote {args.to}")
    return 2 if failures else 0
