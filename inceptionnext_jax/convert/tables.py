"""PyTorch's names of a model's arrays, looked up in its family's tables."""

import re

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.names import Leaf, Table
from inceptionnext_jax.models.registry import model_info


def family(name: str, deployed: bool = False) -> Family:
    """Returns the family of a model, or of its deployed form, which has tables of names.

    Raises:
      UserError: The model is unknown, or nothing is known of its names in PyTorch.
    """
    found: Family | None = model_info(name).family
    if deployed and found is not None:
        found = found.deployed
    if found is None or not found.namings:
        form = "deployed model" if deployed else "model"
        raise UserError(
            f"{form} {name!r} has no table of PyTorch names; give its Family one (models/family.py)"
        )
    return found


def locate(table: Table, path: tuple[str, ...]) -> tuple[str, Leaf]:
    """Returns the PyTorch name and layout of the array at `path` ("stem", "conv", "kernel").

    Raises:
      UserError: No rule covers it.
    """
    module, name = "/".join(path[:-1]), path[-1]
    for rule in table:
        match = re.fullmatch(rule.ours, module)
        if match and name in rule.leaves:
            leaf = rule.leaves[name]
            theirs = rule.theirs
            theirs = match.expand(theirs) if isinstance(theirs, str) else theirs(match)
            return f"{theirs}.{leaf.name}".strip("."), leaf
    raise UserError(f"no rule converts {module}/{name}; add one to the table of the model's Family")
