"""PyTorch's names and layouts of a network's arrays: rules, and those that families share.

A table of rules is the whole description of a family's conversion under one naming; both directions
read the same one.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np


class Leaf(NamedTuple):
    """One array of a module.

    Attributes:
      name: In PyTorch.
      from_torch: From PyTorch's layout to ours.
      to_torch: Back.
    """

    name: str
    from_torch: Callable[[np.ndarray], np.ndarray] = lambda array: array
    to_torch: Callable[[np.ndarray], np.ndarray] = lambda array: array


class Rule(NamedTuple):
    """One kind of module.

    Attributes:
      ours: Pattern of the module's path in our tree, parts joined by "/".
      theirs: Its PyTorch name as a template for the match, or a function of the match.
      leaves: Its arrays by our names.
    """

    ours: str
    theirs: str | Callable[[re.Match[str]], str]
    leaves: dict[str, Leaf]


Table: TypeAlias = tuple[Rule, ...]

CONV = {
    "kernel": Leaf("weight", lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),
    "bias": Leaf("bias"),
}
LINEAR = {
    "kernel": Leaf("weight", np.transpose, np.transpose),
    "bias": Leaf("bias"),
}
# A 1×1 convolution there, a matrix product here.
POINTWISE = {
    "kernel": Leaf("weight", lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None]),
    "bias": Leaf("bias"),
}
LAYER_NORM = {"scale": Leaf("weight"), "bias": Leaf("bias")}
BATCH_NORM = {**LAYER_NORM, "mean": Leaf("running_mean"), "var": Leaf("running_var")}
LAYER_SCALE = {"gamma": Leaf("gamma")}


def block_rule(ours: str, theirs: str, leaves: dict[str, Leaf]) -> Rule:
    """Makes a rule for a module within each block, in timm's names."""
    return Rule(rf"stages_(\d+)/blocks_(\d+){ours}", rf"stages.\1.blocks.\2{theirs}", leaves)


def numbered_rule(ours: str, template: str, leaves: dict[str, Leaf]) -> Rule:
    """Makes a rule for a module within each block where stages, perhaps blocks, count from 1.

    `template` is formatted with `stage` (from 1), `block` (from 0), `next` (the block from 1) and
    the groups of `ours`.
    """

    def theirs(match: re.Match[str]) -> str:
        stage, block, *rest = match.groups()
        return template.format(*rest, stage=int(stage) + 1, block=int(block), next=int(block) + 1)

    return Rule(rf"stages_(\d+)/blocks_(\d+)/{ours}", theirs, leaves)


def metanext_rules(norm: dict[str, Leaf]) -> Table:
    """Returns timm's names outside the blocks of InceptionNeXt and ConvNeXt."""
    return (
        Rule(r"stem/conv", r"stem.0", CONV),
        Rule(r"stem/norm", r"stem.1", norm),
        Rule(r"stages_(\d+)/downsample/norm", r"stages.\1.downsample.0", norm),
        Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.1", CONV),
        Rule(r"head/(fc[12]?)", r"head.\1", LINEAR),
        Rule(r"head/norm", r"head.norm", LAYER_NORM),
    )


def within(table: Table, ours: str, theirs: str) -> Table:
    """Returns the rules of a network that is a part of a larger one, below these prefixes."""

    def below(rule: Rule) -> Rule:
        if isinstance(rule.theirs, str):
            return Rule(ours + rule.ours, theirs + rule.theirs, rule.leaves)
        name = rule.theirs
        return Rule(ours + rule.ours, lambda match: theirs + name(match), rule.leaves)

    return tuple(below(rule) for rule in table)


def backbone_rules(table: Table, norm: Callable[[int], str] = "norm{}".format) -> Table:
    """Returns the names of a network as the backbone of a dense system.

    norm: Name, in the backbone, of the norm of its map of this index.
    """
    norms = Rule(r"out_norm/norm_(\d)", lambda match: f"backbone.{norm(int(match[1]))}", BATCH_NORM)
    return (*within(table, "backbone/", "backbone."), norms)


def transformer_rules(theirs: str) -> Table:
    """Returns timm's names of Transformers, whose blocks have the names `theirs`."""
    block = r"stages_(\d+)/blocks_(\d+)"
    bias_table = {"relative_position_bias_table": Leaf("relative_position_bias_table")}
    return (
        Rule(rf"{block}/(norm\d)", rf"{theirs}.\3", LAYER_NORM),
        Rule(rf"{block}/attn", rf"{theirs}.attn", bias_table),
        Rule(rf"{block}/attn/(qkv|proj)", rf"{theirs}.attn.\3", LINEAR),
        Rule(rf"{block}/mlp/(fc\d)", rf"{theirs}.mlp.\3", LINEAR),
        Rule(r"stem/conv", r"patch_embed.proj", CONV),
        Rule(r"head/norm", r"norm", LAYER_NORM),
    )
