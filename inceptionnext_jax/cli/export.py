"""`export`: a network as one file for other programs."""

import argparse
from typing import Any

from inceptionnext_jax.cli.parser import add_command
from inceptionnext_jax.cli.sources import add_source_options, load

_DESCRIPTION = """\
Writes the inference form of a network (norms folded, layers merged) with its weights as one file,
for any batch size, and beside it README.md and classes.txt. The exported function is compared with
the network before the file is written.

stablehlo: runs with jax alone, on CPUs, NVIDIA GPUs and TPUs.
onnx: runs in onnxruntime and others, recommended on CPUs; needs pip install -e '.[onnx]'.
"""
_EXAMPLES = """\
examples (the first trains two steps on synthetic images, to have something to export):
  python main.py --config=configs/atto.py:debug --workdir=out/debug
  python -m inceptionnext_jax export out/debug --format stablehlo --to out/stablehlo
  python -m inceptionnext_jax export out/debug --format onnx --to out/onnx --uint8

with a network:
  python -m inceptionnext_jax export inceptionnext_tiny --format onnx --to out/tiny
"""


def add_parser(subparsers: Any) -> None:
    """Adds `export` to the command line."""
    parser = add_command(
        subparsers,
        "export",
        help="write a network as StableHLO or ONNX",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "MODEL")
    parser.add_argument(
        "--format", required=True, choices=("stablehlo", "onnx"), help="what to write"
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--uint8", action="store_true", help="take uint8 pixels: normalisation is inside"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exports, and prints what was written."""
    from inceptionnext_jax.export import export
    from inceptionnext_jax.export.artifact import check_folder
    from inceptionnext_jax.runtime.compilation_cache import cache_compilations

    check_folder(args.to, args.format)
    if args.format == "onnx":
        from inceptionnext_jax.export.onnx_file import require

        require()
    cache_compilations()
    path = export(load(args), args.to, args.format, args.uint8)
    print(f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB, checked against the network")
    return 0
