"""`explain`: pictures of what networks see and of what runs train on."""

from typing import Any

from inceptionnext_jax.cli import explain_augment, explain_cam, explain_erf
from inceptionnext_jax.cli.parser import add_command

KINDS = (explain_augment, explain_cam, explain_erf)


def add_parser(subparsers: Any) -> None:
    """Adds `explain` and its kinds to the command line."""
    parser = add_command(
        subparsers,
        "explain",
        help="draw what networks see: cam, erf; what a run trains on: augment",
        description="Pictures that explain networks and runs. Each kind has a help page.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind in KINDS:
        kind.add_parser(kinds)
