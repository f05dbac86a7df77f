"""Options that name weights, and the networks that they name."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Pretrained


def add_source_options(parser: argparse.ArgumentParser, source: str) -> None:
    """Adds `source` ("MODEL", "--from"), --model, --key and --sha256, which `load` reads."""
    kinds = "file, folder, workdir, step, URL, hub id or model name"
    if source.startswith("-"):
        parser.add_argument(source, dest="source", required=True, metavar="SOURCE", help=kinds)
    else:
        parser.add_argument("source", metavar=source, help=kinds)
    parser.add_argument("--model", metavar="NAME", help="the model's name, for a bare weight file")
    parser.add_argument("--key", help="entry of a .pth; for a run's step: ema or params")
    parser.add_argument("--sha256", metavar="HEX", help="checksum of a URL's file")


def add_beside(parser: argparse.ArgumentParser) -> None:
    """Adds --beside, which names further networks; `load_networks` reads it."""
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="SOURCE",
        help="another network beside the first, as MODEL; may be given several times",
    )


def load(args: argparse.Namespace, source: str | None = None, **options: Any) -> "Pretrained":
    """Loads the weights that the options name; notes go to standard error.

    Args:
      args: With the options of `add_source_options`.
      source: Instead of `args.source`.
      options: Those of `create_model`.
    """
    from inceptionnext_jax.convert import MismatchError
    from inceptionnext_jax.pretrained import load_pretrained

    try:
        return load_pretrained(
            source or args.source,
            args.model,
            key=args.key,
            sha256=args.sha256,
            say=lambda text: print(text, file=sys.stderr),
            **options,
        )
    except MismatchError as error:
        for problem in error.problems:
            print(
                f"{problem.kind}: {problem.name}: {problem.found} in the file, "
                f"{problem.expected} in the model",
                file=sys.stderr,
            )
        raise


def load_networks(args: argparse.Namespace, **options: Any) -> "list[Pretrained]":
    """Loads MODEL and the networks of --beside; options that are None are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    first = load(args, **given)
    plain = argparse.Namespace(**{**vars(args), "model": None, "key": None, "sha256": None})
    return [first, *(load(plain, source, **given) for source in args.beside)]


def column_names(args: argparse.Namespace, networks: "list[Pretrained]") -> list[str]:
    """The networks' names, or their sources if two networks have the same name."""
    names = [network.name for network in networks]
    return names if len(set(names)) == len(names) else [args.source, *args.beside]
