"""Evaluation image by image, so that no result depends on the batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.types import Batch, PyTree


def one_by_one(function: Callable[[Batch], PyTree], batch: Batch, devices: int) -> PyTree:
    """Applies a function to a batch, on each device to one image at a time.

    The program for an image is the same whatever the batch, and so are the bits of its result; rows
    of padding cost nothing.

    Args:
      function: Arrays [devices, …] -> arrays [devices, …].
      batch: Arrays [B, …], with "mask" [B], which is 0 in padding at the end.
      devices: Number that share the batch.

    Returns:
      The function's results, [B, …]; those of padding are zeros.
    """
    rows = {name: _by_device(array, devices) for name, array in batch.items()}
    shown = (rows["mask"] > 0).any(axis=1)
    count = ((jnp.arange(len(shown)) + 1) * shown).max()

    def of(i: jax.Array | int) -> Batch:
        return {name: lax.dynamic_index_in_dim(a, i, 0, False) for name, a in rows.items()}

    def add(i: jax.Array, found: PyTree) -> PyTree:
        update = lambda all, one: lax.dynamic_update_index_in_dim(all, one, i, 0)  # noqa: E731
        return jax.tree.map(update, found, function(of(i)))

    shapes = jax.eval_shape(lambda: function(of(0)))
    blank = jax.tree.map(lambda leaf: jnp.zeros((len(shown), *leaf.shape), leaf.dtype), shapes)
    found = lax.fori_loop(0, count, add, blank)
    return jax.tree.map(lambda array: array.swapaxes(0, 1).reshape(-1, *array.shape[2:]), found)


def _by_device(array: jax.Array, devices: int) -> jax.Array:
    """[B, …] to [B / devices, devices, …]: every device's first image, its second, …"""
    return array.reshape(devices, -1, *array.shape[1:]).swapaxes(0, 1)
