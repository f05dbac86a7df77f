"""Stochastic depth and dropout whose masks do not depend on how the batch is divided.

A mask is a function of the key, of its index in the network and of the example's position in the
global batch, and of nothing else: the same on one device and on many, with and without
micro-batches, with layers unrolled and scanned.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from inceptionnext_jax.errors import UserError


class DropNoise(NamedTuple):
    """Source of the masks of one forward pass.

    Attributes:
      key: The key of the network and step.
      positions: [N] int32, each example's position in the global batch.
    """

    key: jax.Array
    positions: jax.Array

    @classmethod
    def create(cls, key: jax.Array, batch: int, positions: jax.Array | None) -> "DropNoise":
        """Takes `positions` [batch] of integers, or 0, 1, … batch - 1 when it is None."""
        if positions is None:
            positions = jnp.arange(batch, dtype=jnp.int32)
        if positions.shape != (batch,):
            raise UserError(
                f"positions have shape {tuple(positions.shape)}, expected ({batch},): "
                "one position in the global batch for each example"
            )
        return cls(key, positions.astype(jnp.int32))

    def example_keys(self, index: int | jax.Array) -> jax.Array:
        """Returns N keys for mask `index` of the network (blocks count from 0, then the head)."""
        key = jax.random.fold_in(self.key, index)
        return jax.vmap(lambda position: jax.random.fold_in(key, position))(self.positions)


def drop_path(
    x: jax.Array, noise: DropNoise, index: int | jax.Array, rate: float | jax.Array
) -> jax.Array:
    """Zeroes whole examples of a residual branch with probability `rate` and rescales the rest.

    Args:
      x: [N, H, W, C].
      noise: The source of the masks.
      index: Index of the mask in the network.
      rate: Probability of dropping, in [0, 1).
    """
    # float32 throughout, so that every compute dtype and both spellings of the rate (a number when
    # blocks are unrolled, an array element when they are scanned) draw the same mask.
    keep = 1 - jnp.asarray(rate, jnp.float32)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (), jnp.float32))
    mask = uniform(noise.example_keys(index)) < keep
    factor = jnp.where(mask, 1 / keep, 0).astype(x.dtype)
    return x * factor[:, None, None, None]


def dropout(x: jax.Array, noise: DropNoise, index: int, rate: float) -> jax.Array:
    """Zeroes single elements of x: [N, ...] with probability `rate` and rescales the rest."""
    keep = 1 - rate
    uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], jnp.float32))
    mask = uniform(noise.example_keys(index)) < keep
    return jnp.where(mask, x / keep, jnp.zeros_like(x))


def channel_dropout(x: jax.Array, noise: DropNoise, index: int, rate: float) -> jax.Array:
    """Zeroes whole channels of x: [N, H, W, C] with probability `rate` and rescales the rest."""
    ones = jnp.ones((x.shape[0], x.shape[-1]), x.dtype)
    return x * dropout(ones, noise, index, rate)[:, None, None]
