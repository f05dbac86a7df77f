"""`convert`: weights between the names and layouts of PyTorch and of this library."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.sources import add_source_options, load
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import check_file_target, check_folder_target, replaced, writing

if TYPE_CHECKING:
    from inceptionnext_jax.pretrained import Pretrained

_DESCRIPTION = """\
Reads weights and writes them for another program.

--from takes a weight file (.safetensors, .npz, .pth, .pt, .bin), a folder with model.safetensors,
a workdir or a step of a run (Orbax), a URL, a hub id (hf://owner/name), or a model's name for its
published weights. Nothing in a file is executed. A .pth file that holds nothing but tensors is
taken as it is, from others the first entry of model_ema, state_dict_ema, model, state_dict; from a
run's step the averaged weights, if it has them. --key chooses another.

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
    parser = add_command(
        subparsers,
        "convert",
        help="convert weights from and to PyTorch's files",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_source_options(parser, "--from")
    parser.add_argument("--to", required=True, metavar="DIR|FILE", help="what to write")
    parser.add_argument(
        "--layout",
        choices=("timm", "official", "mmseg", "mmdet", "mmpretrain", "huggingface"),
        default="timm",
        help="naming scheme of a FILE (default: %(default)s; official is the same for "
        "InceptionNeXt; the others are for networks of segmentation)",
    )
    parser.add_argument(
        "--num-classes", type=positive, metavar="N", help="expected classes (default: the source's)"
    )
    parser.add_argument(
        "--reset-head",
        action="store_true",
        help="if --num-classes differs, initialise the classifier's last layer anew",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Converts, and prints what was written."""
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
    """Whether the target is a file; raises UserError for what cannot be written."""
    if args.reset_head and args.num_classes is None:
        raise UserError("--reset-head needs --num-classes, the number of classes to have")
    shown = f"--to={target}"
    if target.suffix in (".safetensors", ".npz"):
        check_file_target(target, shown, "name a file, or a folder without suffix")
        return True
    if target.suffix in (".pth", ".pt", ".bin"):
        raise UserError(
            f"{shown}: PyTorch's own format is read but not written; name a .safetensors file, "
            f"which PyTorch's users load as well"
        )
    check_folder_target(target, shown, "name a folder, a .safetensors or a .npz file")
    if args.layout != "timm":
        raise UserError(f"--layout={args.layout} is for a FILE; a folder has timm's names")
    return False


def _with_classes(loaded: "Pretrained", args: argparse.Namespace) -> "Pretrained":
    if args.num_classes in (None, loaded.num_classes):
        return loaded
    if not args.reset_head:
        raise UserError(
            f"{args.source} has {loaded.num_classes} classes, --num-classes={args.num_classes} "
            f"asks for others; add --reset-head to initialise the last layer anew"
        )
    from inceptionnext_jax.pretrained.bundle import fresh_classifier

    return fresh_classifier(loaded, args.num_classes)


def _write_file(target: Path, loaded: "Pretrained", layout: str) -> int:
    import numpy as np

    from inceptionnext_jax.convert import to_torch
    from inceptionnext_jax.pretrained.config_json import save_safetensors

    state_dict = to_torch(loaded.name, loaded.variables, layout, **loaded.options)
    with writing(f"--to={target}"):
        if target.suffix == ".npz":
            with replaced(target) as temporary, temporary.open("wb") as file:
                np.savez(file, **state_dict)  # type: ignore[arg-type]
        else:
            save_safetensors(target, state_dict)
    return len(state_dict)
