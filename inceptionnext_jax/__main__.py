"""`python -m inceptionnext_jax <command>`: everything that is not training.

Each of COMMANDS is a module of `cli` with `add_parser(subparsers)` and `run(args) -> int`. Those
modules import little at the top, so that --help answers at once.
"""

import argparse
import importlib
import os
import sys
from typing import NoReturn

from inceptionnext_jax.errors import RunError, UserError, exit_code, print_error

COMMANDS = ("checkpoints", "convert", "explain", "export", "models", "predict", "prepare")


class _Parser(argparse.ArgumentParser):
    """Mistakes end as everywhere in this project: one line `error: …`, exit code 2."""

    def error(self, message: str) -> NoReturn:
        print_error(f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def main(argv: list[str] | None = None) -> int:
    parser = _Parser(
        prog="python -m inceptionnext_jax",
        description="InceptionNeXt in JAX: everything that is not training (that is main.py).",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    modules = {}
    for name in COMMANDS:
        modules[name] = importlib.import_module(f"inceptionnext_jax.cli.{name}")
        modules[name].add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        code: int = modules[args.command].run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, RunError) as error:
        print_error(error)
        return exit_code(error)


if __name__ == "__main__":
    # Names of files need not be text, and are printed as they are.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.exit(main())
