"""Where each module of a family lies in PyTorch's state dict, and how its arrays are laid out.

A table is the whole description of a family's conversion under one naming; both directions read the
same one. Families whose authors and timm chose different names have a table for each.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inceptionnext_jax.errors import UserError


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
      theirs: Its PyTorch name as a template for the match.
      leaves: Its arrays by our names.
    """

    ours: str
    theirs: str
    leaves: dict[str, Leaf]


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


def _block(ours: str, theirs: str, leaves: dict[str, Leaf]) -> Rule:
    """A rule for a module within each block, in timm's names."""
    return Rule(rf"stages_(\d+)/blocks_(\d+){ours}", rf"stages.\1.blocks.\2{theirs}", leaves)


def _outer(norm: dict[str, Leaf]) -> tuple[Rule, ...]:
    """timm's names outside of blocks."""
    return (
        Rule(r"stem/conv", r"stem.0", CONV),
        Rule(r"stem/norm", r"stem.1", norm),
        Rule(r"stages_(\d+)/downsample/norm", r"stages.\1.downsample.0", norm),
        Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.1", CONV),
        Rule(r"head/(fc[12]?)", r"head.\1", LINEAR),
        Rule(r"head/norm", r"head.norm", LAYER_NORM),
    )


# The authors' code and timm use the same names. Isotropic networks and those with attention, which
# neither has, are named alike.
INCEPTIONNEXT = (
    *_outer(BATCH_NORM),
    _block("", "", LAYER_SCALE),
    _block(r"/token_mixer/(dwconv_\w+)", r".token_mixer.\3", CONV),
    _block(r"/token_mixer/(qkv|proj)", r".token_mixer.\3", LINEAR),
    _block(r"/norm", r".norm", BATCH_NORM),
    _block(r"/mlp/(fc[12])", r".mlp.\3", POINTWISE),
)


def _convnext_timm(fc: dict[str, Leaf]) -> tuple[Rule, ...]:
    """ConvNeXt in timm's names; its MLPs are linear layers or, in the smallest, convolutions."""
    return (
        *_outer(LAYER_NORM),
        _block("", "", LAYER_SCALE),
        _block(r"/conv_dw", r".conv_dw", CONV),
        _block(r"/norm", r".norm", LAYER_NORM),
        _block(r"/mlp/(fc[12])", r".mlp.\3", fc),
    )


CONVNEXT = _convnext_timm(LINEAR)
CONVNEXT_CONV_MLP = _convnext_timm(POINTWISE)


def _convnext_blocks(ours: str, theirs: str, dwconv: str = ".dwconv") -> tuple[Rule, ...]:
    """The authors' names within blocks, whose paths are `ours` and `theirs`, and of the head."""
    return (
        Rule(ours, theirs, LAYER_SCALE),
        Rule(rf"{ours}/conv_dw", rf"{theirs}{dwconv}", CONV),
        Rule(rf"{ours}/norm", rf"{theirs}.norm", LAYER_NORM),
        Rule(rf"{ours}/mlp/fc1", rf"{theirs}.pwconv1", LINEAR),
        Rule(rf"{ours}/mlp/fc2", rf"{theirs}.pwconv2", LINEAR),
        Rule(r"head/norm", r"norm", LAYER_NORM),
        Rule(r"head/fc", r"head", LINEAR),
    )


def _convnext_authors(dwconv: str = ".dwconv") -> tuple[Rule, ...]:
    return (
        Rule(r"stem/conv", r"downsample_layers.0.0", CONV),
        Rule(r"stem/norm", r"downsample_layers.0.1", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/norm", r"downsample_layers.\1.0", LAYER_NORM),
        Rule(r"stages_(\d+)/downsample/conv", r"downsample_layers.\1.1", CONV),
        *_convnext_blocks(r"stages_(\d+)/blocks_(\d+)", r"stages.\1.\2", dwconv),
    )


CONVNEXT_AUTHORS = _convnext_authors()
# The preliminary study of InceptionNeXt's authors; there is no other code with these networks.
CONVNEXT_PARTIAL = _convnext_authors(".dwconv.conv")
CONVNEXT_ISOTROPIC = (
    Rule(r"stem/conv", r"stem", CONV),
    *_convnext_blocks(r"stages_0/blocks_(\d+)", r"blocks.\1"),
)

MLP_HEAD = ("params", "head", "fc2", "bias")
LINEAR_HEAD = ("params", "head", "fc", "bias")


class Family(NamedTuple):
    """Models that share their names.

    Attributes:
      pattern: Of the models' names.
      namings: Tables, each of all the names; the first is timm's where timm has the models.
      classifier: Our path of the classifier's bias.
      official: Which of `namings` the authors use.
    """

    pattern: str
    namings: tuple[tuple[Rule, ...], ...]
    classifier: tuple[str, ...]
    official: int = 0

    def naming(self, layout: str) -> tuple[Rule, ...]:
        """Returns the table of a layout in `LAYOUTS`; raises UserError for another."""
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout!r} is unknown, expected one of {', '.join(LAYOUTS)}")
        return self.namings[self.official if layout == "official" else 0]


LAYOUTS = ("timm", "official")


FAMILIES = (
    Family(r"(inceptionnext|metanext)_\w+_iso", (INCEPTIONNEXT,), LINEAR_HEAD),
    Family(r"convnext_\w+_iso", (CONVNEXT_ISOTROPIC,), LINEAR_HEAD),
    Family(r"convnext_\w+_par\w+", (CONVNEXT_PARTIAL,), LINEAR_HEAD),
    Family(r"inceptionnext_\w+", (INCEPTIONNEXT,), MLP_HEAD),
    Family(r"convnext_atto", (CONVNEXT_CONV_MLP, CONVNEXT, CONVNEXT_AUTHORS), LINEAR_HEAD, 2),
    Family(r"convnext_\w+", (CONVNEXT, CONVNEXT_AUTHORS, CONVNEXT_CONV_MLP), LINEAR_HEAD, 1),
)


def family(name: str) -> Family:
    """Returns the first family that a model's name fits.

    Raises:
      UserError: There is none.
    """
    for candidate in FAMILIES:
        if re.fullmatch(candidate.pattern, name):
            return candidate
    raise UserError(f"model {name!r} has no table of PyTorch names; add one to convert/tables.py")


def locate(table: tuple[Rule, ...], path: tuple[str, ...]) -> tuple[str, Leaf]:
    """Returns the PyTorch name and layout of the array at `path` ("stem", "conv", "kernel").

    Raises:
      UserError: No rule covers it.
    """
    module, name = "/".join(path[:-1]), path[-1]
    for rule in table:
        match = re.fullmatch(rule.ours, module)
        if match and name in rule.leaves:
            leaf = rule.leaves[name]
            return f"{match.expand(rule.theirs)}.{leaf.name}", leaf
    raise UserError(f"no rule converts {module}/{name}; add one to convert/tables.py")
