"""The argument parser of every command: one-line errors, examples, checked numbers."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from inceptionnext_jax.errors import print_error


class Parser(argparse.ArgumentParser):
    """Prints help texts as they are written; reports a mistake as `error: …` with exit code 2.

    Args:
      takes_config: Whether --config.KEY=VALUE is accepted; such arguments, which no parser can
        list, are collected in `args.overrides`.
      options: Those of `argparse.ArgumentParser`.
    """

    def __init__(self, *, takes_config: bool = False, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._takes_config = takes_config

    def error(self, message: str) -> NoReturn:
        print_error(f"{message}; see {self.prog} --help")
        raise SystemExit(2)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if not self._takes_config:
            return super().parse_known_args(args, namespace)
        overrides, rest = _split_overrides(sys.argv[1:] if args is None else args)
        parsed, unknown = super().parse_known_args(rest, namespace or argparse.Namespace())
        parsed.overrides = overrides
        return parsed, unknown


def add_command(
    subparsers: Any, name: str, *, help: str, description: str, examples: str = "", **options: Any
) -> Parser:
    """Adds a command and returns its parser.

    Args:
      subparsers: From `add_subparsers` of a `Parser`.
      name: As it is typed.
      help: One line for the list of commands.
      description: Above the options on the command's own help page.
      examples: Below them.
      options: Further ones of `Parser`.
    """
    parser: Parser = subparsers.add_parser(
        name, help=help, description=description, epilog=examples or None, **options
    )
    return parser


def positive(text: str) -> int:
    """The type of options that take a whole number ≥ 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number ≥ 1")
    return number


def _split_overrides(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """(config overrides with their values, all other arguments)."""
    overrides: list[str] = []
    rest: list[str] = []
    expects_value = False  # after an override without "="
    for arg in args:
        is_override = arg.startswith("-") and arg.lstrip("-").startswith(("config.", "noconfig."))
        if is_override or (expects_value and not arg.startswith("-")):
            overrides.append(arg)
        else:
            rest.append(arg)
        expects_value = is_override and "=" not in arg and not arg.lstrip("-").startswith("no")
    return overrides, rest
