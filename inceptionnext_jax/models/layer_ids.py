"""Layers of a network's parameters, counted from the input: rules that families share.

A rule gives plain paths (`stages_0/blocks_1/…`, never stacked) their layers and leaves out those
that it does not know. The classifier is the last layer.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

LayerIds = Callable[[Sequence[str]], dict[str, int]]


class Layers(NamedTuple):
    """Layers of paths by a recipe that fixes their number, whichever of them have parameters.

    Attributes:
      ids: The layer of each path.
      last: The layer of the classifier, and of heads and necks of dense systems.
    """

    ids: dict[str, int]
    last: int


LayerRule = Callable[[Sequence[str]], Layers]
# Values of `optim.layer_groups`: `Family.layer_ids`, then those of `Family.layer_rules`.
GROUPS = ("block", "stage", "triple", "pair")

BLOCK = re.compile(r"(?:stages_(\d+)/)?blocks_(\d+)/")
STAGE = re.compile(r"stages_(\d+)/")


def by_block(paths: Sequence[str]) -> dict[str, int]:
    """timm's groups for MetaNeXt, ConvNeXt and other ConvNets: the stem, each block, the head.

    A stage's downsampling lies in one layer with its first block.
    """
    found = {path: group for path in paths if (group := _group(path))}
    ids = {group: index for index, group in enumerate(sorted(set(found.values())))}
    return {path: ids[group] for path, group in found.items()}


def with_last_block(paths: Sequence[str]) -> dict[str, int]:
    """timm's groups for Transformers: as `by_block`, but the last norm lies with the last block."""
    return {path: i - path.startswith("head/norm/") for path, i in by_block(paths).items()}


def by_stage(paths: Sequence[str]) -> dict[str, int]:
    """The layers of VanillaNet's `optim_factory.py`: the stem, each stage, and the classifier."""
    stages = {path: int(match[1]) + 1 for path in paths if (match := STAGE.match(path))}
    last = max(stages.values(), default=0) + 1
    outer = {"stem": 0, "head": last}
    others = {path: outer[first] for path in paths if (first := path.split("/")[0]) in outer}
    return stages | others


def by_pair(paths: Sequence[str]) -> Layers:
    """The layers of VanillaNet's detectors: the stem, then two of the network's layers each.

    VanillaNet-13 has 6 beside the stem (`object_detection/`, `layer_wise` with 6 layers).
    """
    numbers = {path: int(match[1]) for path in paths if (match := STAGE.match(path))}
    last = max(numbers.values(), default=-1) // 2 + 2
    outer = {"stem": 0, "head": last}
    others = {path: outer[first] for path in paths if (first := path.split("/")[0]) in outer}
    return Layers({path: i // 2 + 1 for path, i in numbers.items()} | others, last)


def _group(path: str) -> tuple[int, ...] | None:
    if path.startswith("stem/"):
        return (0,)
    if match := BLOCK.match(path):
        return (1, int(match[1] or 0), int(match[2]))
    if match := STAGE.match(path):
        return (1, int(match[1]), 0)
    return (2,) if path.startswith("head/") else None
