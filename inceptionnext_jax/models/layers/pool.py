"""Maximum pooling with PyTorch's windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


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
        length = x.shape[axis]
        first = np.arange(n) * length // n
        last = -(-(np.arange(n) + 1) * length // n) - 1
        # Windows shorter than the longest repeat their last element.
        offsets = np.arange((last - first).max() + 1)
        windows = np.minimum(first[:, None] + offsets, last[:, None])
        x = jnp.take(x, windows, axis=axis).max(axis=axis + 1)
    return x
