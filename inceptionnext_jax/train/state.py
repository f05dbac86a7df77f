"""The state of a training run: a plain pytree without keys, functions or settings."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from inceptionnext_jax.types import PyTree, Variables


class TrainState(struct.PyTreeNode):
    """All that an optimizer step changes."""

    step: jax.Array  # [] int32: completed updates
    params: PyTree
    batch_stats: PyTree  # running statistics; {} for models without
    host: PyTree  # the model's variables that the host sets; {} for models without
    opt_state: PyTree
    ema: PyTree  # averages of `weights()`, or None
    skipped: jax.Array  # [] int32: updates left out for a non-finite loss or gradient

    def weights(self, ema: bool = False) -> Variables:
        """The variables of the model, or their averages."""
        return self.ema if ema else weights_of(vars(self))


def weights_of(collections: Any) -> Variables:
    """The collections that a checkpoint holds of a model's variables, "host" only if needed."""
    weights = {"params": collections["params"], "batch_stats": collections.get("batch_stats", {})}
    host = collections.get("host", {})
    return {**weights, "host": host} if host else weights


def create_state(variables: Variables, tx: Any, ema: bool) -> TrainState:
    """A state before the first step, from the variables of a model. Pure: jit it."""
    weights = weights_of(variables)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        **{"host": {}, **weights},
        opt_state=tx.init(weights["params"]),
        # A copy: donating one buffer under two names is an error.
        ema=jax.tree.map(jnp.copy, weights) if ema else None,
        skipped=jnp.zeros((), jnp.int32),
    )
