"""Pooling with PyTorch's windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.models.layers.resize import weighted_sums


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maps x: [B, H, W, C] to the maximum of each 2×2 positions, [B, H // 2, W // 2, C].

    Four strided views, because XLA's CPU compiler fuses a reduced window into the matrix product
    before it, which then takes longer. Equal maxima share the gradient.
    """
    H, W = (side // 2 * 2 for side in x.shape[1:3])
    views = [x[:, i:H:2, j:W:2] for i in range(2) for j in range(2)]
    return functools.reduce(jnp.maximum, views)


def adaptive_max_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Maps x: [B, H, W, C] to [B, *size, C] by PyTorch's windows, which may overlap.

    Window i of n along an axis of length L is from floor(i L / n) to ceil((i + 1) L / n).
    """
    for axis, n in zip((1, 2), size, strict=True):
        first, last = _windows(x.shape[axis], n)
        # Windows shorter than the longest repeat their last element.
        offsets = np.arange((last - first).max() + 1)
        windows = np.minimum(first[:, None] + offsets, last[:, None])
        x = jnp.take(x, windows, axis=axis).max(axis=axis + 1)
    return x


@functools.partial(jax.jit, static_argnames="size")
def adaptive_average_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Maps x: [B, H, W, C] to the means of the windows of `adaptive_max_pool`, [B, *size, C]."""
    wide = x.astype(param_dtype(x.dtype))
    for axis, n in zip((1, 2), size, strict=True):
        first, last = _windows(x.shape[axis], n)
        position = np.arange(x.shape[axis])
        inside = (first[:, None] <= position) & (position <= last[:, None])
        wide = weighted_sums(wide, axis, inside / inside.sum(1, keepdims=True))
    return wide.astype(x.dtype)


def _windows(length: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the last position of each of n windows along an axis."""
    first = np.arange(n) * length // n
    last = -(-(np.arange(n) + 1) * length // n) - 1
    return first, last
