"""`explain erf`: how far networks really look."""

import argparse
from typing import Any

from inceptionnext_jax.cli.convert import add_source_options
from inceptionnext_jax.cli.explain_cam import add_beside, column_names, load_networks, read_images
from inceptionnext_jax.cli.pictures import checked_target, save_picture

_DESCRIPTION = """\
Draws effective receptive fields, a column for each network: how much each pixel moves the centre of
the last stage's map, over all images. Prints, for some shares of all contributions, which part of
the image the smallest centred square takes that holds the share: more is farther.

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


def add_kind(kinds: Any) -> None:
    """Adds `explain erf` to the command line."""
    parser = kinds.add_parser(
        "erf",
        help="effective receptive fields of networks",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_source_options(parser, "MODEL")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, or -")
    parser.add_argument("--to", required=True, metavar="FILE.png", help="the picture to write")
    add_beside(parser)
    parser.set_defaults(explain=explain_erf)


def explain_erf(args: argparse.Namespace) -> int:
    """Draws the fields and prints their extent; 2 when an image could not be read."""
    target = checked_target(args.to)
    import numpy as np

    from inceptionnext_jax.explain.grid import Tile, picture_grid
    from inceptionnext_jax.explain.heat import coloured
    from inceptionnext_jax.explain.images import receptive_field
    from inceptionnext_jax.explain.receptive_field import SHARES, area_shares
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
        tiles.append(Tile(coloured(shown, "viridis"), text))
    lines = [
        f"Over {len(paths)} image{'s' * (len(paths) > 1)}; from blue to yellow on a logarithmic "
        "scale of three decades."
    ]
    names = column_names(args, networks)
    picture = picture_grid("Effective receptive field", lines, names, [tiles])
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
