"""`models`: names, sizes and reported accuracies of all models."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.parser import add_command
from inceptionnext_jax.cli.table import print_table
from inceptionnext_jax.errors import UserError, suggestion

if TYPE_CHECKING:
    from inceptionnext_jax.models.registry import ModelInfo

_HEADER = ("model", "parameters", "MACs", "activations", "pixels", "top-1", "source")
_DESCRIPTION = """\
Lists the models with 1,000 classes: parameters, multiply-accumulates of one image at the model's
own size (convolutions and linear layers), activations (outputs of these layers), and the reported
ImageNet-1K top-1 accuracy with its source.

Systems of segmentation, `upernet_…` and `semantic_fpn_…`, are listed when asked for, with 150
classes and at the size that papers count at. The auxiliary head counts among the parameters but
not in the MACs. Papers on InceptionNeXt add an operation for each output of a convolution with
bias (--details), those on ConvNeXt what mmcv counts.

So are detectors, `retinanet_…`, `mask_rcnn_…` and `cascade_mask_rcnn_…`, with 80 classes: MACs with
1,000 regions in each box head and 100 in each mask head. Papers print what mmcv counts, and of
VanillaNet the deployed form (--details).
"""
_EXAMPLES = """\
examples:
  python -m inceptionnext_jax models
  python -m inceptionnext_jax models "inceptionnext*"
  python -m inceptionnext_jax models "upernet_inceptionnext*"
  python -m inceptionnext_jax models --details inceptionnext_tiny
"""


def add_parser(subparsers: Any) -> None:
    """Adds `models` to the command line."""
    parser = add_command(
        subparsers,
        "models",
        help="list the models, their sizes and reported accuracies",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "pattern", nargs="?", help='a glob such as "*_tiny", or a part of the name (default: all)'
    )
    what.add_argument("--details", metavar="NAME", help="everything known about one model")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the table, or the details of one model."""
    from inceptionnext_jax import models
    from inceptionnext_jax.models.registry import system_names

    if args.details:
        print_table(_details(models.model_info(args.details)))
        return 0
    pattern = args.pattern
    if pattern and not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    names = models.list_models(pattern)
    if not names:
        hint = suggestion(args.pattern, [*models.list_models(), *system_names()])
        raise UserError(f"no model matches {args.pattern!r}{hint or '; leave it out to see all'}")
    rows = [_row(models.model_info(name)) for name in names]
    print_table([_HEADER, *rows], right=range(1, len(_HEADER) - 1), fold_last=True)
    return 0


def _row(info: "ModelInfo") -> tuple[str, ...]:
    top1 = "" if info.top1 is None else percent(info.top1)
    counts = (_number(info.params), _number(info.macs), _number(info.activations))
    pixels = "×".join(map(str, info.counted_at or (info.input_size,)))
    return (info.name, *counts, pixels, top1, info.top1_source)


def _number(count: int | None) -> str:
    """Formats a count; models from outside the package may have none."""
    return "" if count is None else f"{count:,}"


def percent(fraction: float) -> str:
    """Returns 0.823 as 82.3 % and 0.7249 as 72.49 %: with the reported digits."""
    return f"{round(100 * fraction, 2)} %"


def _details(info: "ModelInfo") -> list[tuple[str, str]]:
    from inceptionnext_jax.models.counts import Counts
    from inceptionnext_jax.models.macs import count_macs
    from inceptionnext_jax.models.registry import create_model

    pairs = []
    for field in dataclasses.fields(info):
        value = getattr(info, field.name)
        if field.name == "family":
            continue
        if field.name in Counts._fields:
            value = _number(value)
        elif field.name == "top1" and value is not None:
            value = percent(value)
        elif field.name == "other_reports":
            value = ", ".join(map(str, value))
        elif isinstance(value, tuple):
            value = ", ".join(f"{part:g}" for part in value)
        pairs.append((field.name, "" if value is None else str(value)))
        if field.name == "macs" and info.counted_at and not info.macs_of_attention:
            model = create_model(info.name)
            biased = count_macs(model, info.counted_at, biases=True)
            pairs.append(("macs_with_biases", _number(biased)))
    return pairs
