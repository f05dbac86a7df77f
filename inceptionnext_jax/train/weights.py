"""Given weights onto the layout, mesh and shardings of a run."""

from typing import Any

import jax
import numpy as np

from inceptionnext_jax import trees
from inceptionnext_jax.checkpoints import manager as checkpoint
from inceptionnext_jax.models.stacking import stack_blocks
from inceptionnext_jax.types import Variables


def with_layout_of(reference: Any, variables: Variables) -> Variables:
    """Stacks the blocks of plain variables where those of `reference` are stacked."""
    stacked = any("/blocks/" in path for path in trees.paths(reference))
    return stack_blocks(variables) if stacked else variables


def on_mesh(variables: Variables, abstract: Variables) -> Variables:
    """Puts arrays onto the shardings of `abstract`, whose shapes they have."""
    return jax.tree.map(
        lambda leaf, want: jax.make_array_from_callback(
            want.shape, want.sharding, lambda index: np.asarray(leaf)[index]
        ),
        variables,
        abstract,
    )


def place(variables: Variables, abstract: Variables, where: str) -> Variables:
    """Puts plain host variables onto the layout and shardings of `abstract`.

    Raises UserError, naming `where` and the parameters, unless every one fits.
    """
    fitted = with_layout_of(abstract, variables)
    given = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in trees.paths_and_leaves(fitted)
    }
    checkpoint.check_fits(given, abstract, where)
    return on_mesh(fitted, abstract)
