"""The state of a training run: a plain pytree without keys, functions or settings."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


class TrainState(struct.PyTreeNode):
    """All that an optimizer step changes."""

    step: jax.Array  # [] int32: completed updates
    params: Any
    batch_stats: Any  # running statistics; {} for models without
    opt_state: Any
    ema: Any  # {"params", "batch_stats"} averages, or None
    skipped: jax.Array  # [] int32: updates left out for a non-finite loss or gradient

    def weights(self, ema: bool = False) -> dict[str, Any]:
        """The variables of the model, or their averages."""
        return self.ema if ema else {"params": self.params, "batch_stats": self.batch_stats}


def create_state(variables: dict[str, Any], tx: Any, ema: bool) -> TrainState:
    """A state before the first step, from the variables of a model. Pure: jit it."""
    weights = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        **weights,
        opt_state=tx.init(weights["params"]),
        # A copy: donating one buffer under two names is an error.
        ema=jax.tree.map(jnp.copy, weights) if ema else None,
        skipped=jnp.zeros((), jnp.int32),
    )
