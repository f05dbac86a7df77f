"""`python -m inceptionnext_jax <command>`: everything that is not training.

Each of COMMANDS is a module of `cli` whose `add_parser(subparsers)` sets `run(args) -> int`. These
modules import little at the top, so that --help answers at once.
"""

import importlib
import os
import sys

from inceptionnext_jax.cli.parser import Parser
from inceptionnext_jax.errors import RunError, UserError, exit_code, print_error

COMMANDS = ("checkpoints", "convert", "explain", "export", "models", "predict", "prepare")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m inceptionnext_jax",
        description="InceptionNeXt in JAX: everything that is not training (that is main.py).",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"inceptionnext_jax.cli.{name}").add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, RunError) as error:
        print_error(error)
        return exit_code(error)


if __name__ == "__main__":
    # File names need not be valid text and are printed unchanged.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.exit(main())
