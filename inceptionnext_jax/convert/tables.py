"""Where each module of a family lies in PyTorch's state dict, and how its arrays are laid out.

A table is the whole description of a family's conversion; both directions read the same one.
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

# The authors' code and timm use the same names.
INCEPTIONNEXT = (
    Rule(r"stem/conv", r"stem.0", CONV),
    Rule(r"stem/norm", r"stem.1", BATCH_NORM),
    Rule(r"stages_(\d+)/downsample/norm", r"stages.\1.downsample.0", BATCH_NORM),
    Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.1", CONV),
    Rule(r"stages_(\d+)/blocks_(\d+)", r"stages.\1.blocks.\2", LAYER_SCALE),
    Rule(
        r"stages_(\d+)/blocks_(\d+)/token_mixer/(dwconv_\w+)",
        r"stages.\1.blocks.\2.token_mixer.\3",
        CONV,
    ),
    Rule(r"stages_(\d+)/blocks_(\d+)/norm", r"stages.\1.blocks.\2.norm", BATCH_NORM),
    Rule(r"stages_(\d+)/blocks_(\d+)/mlp/(fc[12])", r"stages.\1.blocks.\2.mlp.\3", POINTWISE),
    Rule(r"head/(fc[12])", r"head.\1", LINEAR),
    Rule(r"head/norm", r"head.norm", LAYER_NORM),
)

# Per family: pattern of model names, table, and our path of the classifier's bias.
FAMILIES = ((r"inceptionnext_\w+", INCEPTIONNEXT, ("params", "head", "fc2", "bias")),)


def family(name: str) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """Returns the table of a model's family and the path of its classifier's bias.

    Raises:
      UserError: There is none.
    """
    for pattern, table, classifier in FAMILIES:
        if re.fullmatch(pattern, name):
            return table, classifier
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
