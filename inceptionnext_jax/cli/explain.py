"""`explain`: pictures of what networks see and of what runs do."""

import argparse
from typing import Any

from inceptionnext_jax.cli import explain_augment, explain_cam, explain_erf

KINDS = (explain_augment, explain_cam, explain_erf)


def add_parser(subparsers: Any) -> None:
    """Adds `explain` to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="draw what networks see: cam, erf; what a run trains on: augment",
        description="Pictures that explain networks and runs. Each kind has a help page.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind in KINDS:
        kind.add_kind(kinds)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the kind of explanation that was asked for."""
    explain: int = args.explain(args)
    return explain
