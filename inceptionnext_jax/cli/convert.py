"""`convert`: weights between PyTorch's names and layouts and this library's."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.errors import UserError

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Pretrained

_DESCRIPTION = """\
Reads weights and writes them for another program.

--from takes a weight file (.safetensors, .npz, .pth, .pt, .bin), a folder with model.safetensors,
a workdir or a step of a run (Orbax), a URL, a hub id (hf://owner/name), or a model's name for its
published weights. Nothing in a file is executed. Of a .pth the file itself is taken if it holds
nothing but tensors, else the first there is of model_ema, state_dict_ema, model, state_dict; of a
run's step the averages where it has them. --key chooses another.

--to DIR writes model.safetensors, in timm's names, and config.json: `predict`, `export`, `explain`,
inx.load_model, init_from and timm (local-dir:DIR) read that folder.
--to FILE.safetensors or FILE.npz writes the arrays alone, in the names of --layout.
"""
_EXAMPLES = """\
examples (the first trains two steps on synthetic images, to have something to convert):
  python main.py --config=configs/atto.py:debug --workdir=out/debug
  python -m inceptionnext_jax convert --from out/debug --to out/debug_weights
  python -m inceptionnext_jax convert --from out/debug_weights --to out/debug.safetensors
  python -m inceptionnext_jax convert --from out/debug_weights --to out/seven_classes \\
      --num-classes 7 --reset-head

with a network, or the file that the error message names:
  python -m inceptionnext_jax convert --from inceptionnext_tiny --to out/tiny
  python -m inceptionnext_jax convert --model inceptionnext_tiny --from inceptionnext_tiny.pth --to out/tiny
"""  # noqa: E501


def add_parser(subparsers: Any) -> None:
    """Adds `convert` to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="convert weights from and to PyTorch's files",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_options(parser, "--from")
    parser.add_argument("--to", required=True, metavar="DIR|FILE", help="what to write")
    parser.add_argument(
        "--layout",
        choices=("timm", "official"),
        default="timm",
        help="whose names a FILE has (default: %(default)s; the same for InceptionNeXt)",
    )
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="expected classes (default: the source's)"
    )
    parser.add_argument(
        "--reset-head",
        action="store_true",
        help="where --num-classes is another number, begin the classifier's last layer anew",
    )
    parser.set_defaults(run=run)


def add_source_options(parser: argparse.ArgumentParser, source: str) -> None:
    """Adds the options that say where weights are: `source` ("--from"), --model, --key, --sha256.

    `load` reads them.
    """
    what = "file, folder, workdir, step, URL, hub id or model name"
    if source.startswith("-"):
        parser.add_argument(source, dest="source", required=True, metavar="SOURCE", help=what)
    else:
        parser.add_argument("source", metavar=source, help=what)
    parser.add_argument("--model", metavar="NAME", help="of the model, for a bare weight file")
    parser.add_argument("--key", help="entry of a .pth; of a run's step: ema or params")
    parser.add_argument("--sha256", metavar="HEX", help="of a URL's file")


def load(args: argparse.Namespace, source: str | None = None, **options: Any) -> "Pretrained":
    """The weights that the options of `add_source_options` name; notes go to standard error."""
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


def run(args: argparse.Namespace) -> int:
    """Converts, and says what was written."""
    target = Path(args.to).expanduser()
    is_file = _checked_target(target, args)
    loaded = _with_classes(load(args), args)
    from inceptionnext_jax.pretrained import save_pretrained

    if is_file:
        count = _write_file(target, loaded, args.layout)
        print(f"wrote {args.to}: {count} arrays of {loaded.name} in {args.layout}'s names")
    else:
        save_pretrained(target, loaded)
        print(f"wrote {args.to}: {loaded.name} with {loaded.num_classes} classes")
    return 0


def _checked_target(target: Path, args: argparse.Namespace) -> bool:
    """Whether a file is to be written; refuses before the work what cannot be written after it."""
    if args.num_classes is not None and args.num_classes < 1:
        raise UserError(f"--num-classes={args.num_classes} is not a whole number ≥ 1")
    if args.reset_head and args.num_classes is None:
        raise UserError("--reset-head needs --num-classes, the number of classes to have")
    if target.suffix in (".safetensors", ".npz"):
        if target.is_dir():
            raise UserError(f"--to={target} is a folder; name a file, or a folder without suffix")
        if not target.parent.is_dir():
            raise UserError(f"--to={target}: there is no folder {target.parent}; make it first")
        return True
    if target.suffix in (".pth", ".pt", ".bin"):
        raise UserError(
            f"--to={target}: PyTorch's own format is read but not written; name a .safetensors "
            f"file, which PyTorch's users load as well"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"--to={target} is a file; name a folder, a .safetensors or a .npz file")
    if args.layout != "timm":
        raise UserError(f"--layout={args.layout} is for a FILE; a folder has timm's names")
    return False


def _with_classes(loaded: "Pretrained", args: argparse.Namespace) -> "Pretrained":
    if args.num_classes in (None, loaded.num_classes):
        return loaded
    if not args.reset_head:
        raise UserError(
            f"{args.source} has {loaded.num_classes} classes, --num-classes={args.num_classes} "
            f"asks for others; add --reset-head to begin the last layer anew"
        )
    from inceptionnext_jax.pretrained.bundle import fresh_classifier

    return fresh_classifier(loaded, args.num_classes)


def _write_file(target: Path, loaded: "Pretrained", layout: str) -> int:
    import numpy as np

    from inceptionnext_jax.convert import to_torch
    from inceptionnext_jax.files import replaced
    from inceptionnext_jax.pretrained.config_json import save_safetensors

    state_dict = to_torch(loaded.name, loaded.variables, layout, **loaded.options)
    try:
        if target.suffix == ".npz":
            with replaced(target) as temporary, temporary.open("wb") as file:
                np.savez(file, **state_dict)  # type: ignore[arg-type]
        else:
            save_safetensors(target, state_dict)
    except OSError as error:
        raise UserError(f"--to={target} cannot be written ({error.strerror or error})") from error
    return len(state_dict)
