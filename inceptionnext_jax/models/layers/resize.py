"""Resizing of maps, equal to PyTorch's `interpolate` with align_corners=False."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.ops.bilinear import bilinear_matrix


@functools.partial(jax.jit, static_argnames="size")
def resize_bilinear(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Maps x: [B, H, W, C] to [B, *size, C]; shrinking does not smooth first."""
    wide = x.astype(param_dtype(x.dtype))
    for axis, length in zip((1, 2), size, strict=True):
        before = wide.shape[axis]
        if length % before == 0:
            wide = _enlarged(wide, axis, length // before)
        else:
            wide = weighted_sums(wide, axis, bilinear_matrix(before, length))
    return wide.astype(x.dtype)


def resize_nearest(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Maps x: [B, H, W, C] to [B, *size, C], each position being the one at floor(i · in / out)."""
    for axis, length in zip((1, 2), size, strict=True):
        before = x.shape[axis]
        if length % before == 0:
            x = jnp.repeat(x, length // before, axis)
        else:
            x = jnp.take(x, nearest_positions(before, length), axis)
    return x


def nearest_positions(before: int, after: int) -> np.ndarray:
    """Returns the position that `resize_nearest` takes for each of `after` positions."""
    # In float32, as PyTorch: its product may round to just below a whole number.
    source = np.arange(after, dtype=np.float32) * np.float32(before / after)
    return np.minimum(source.astype(int), before - 1)


def weighted_sums(x: jax.Array, axis: int, weights: np.ndarray) -> jax.Array:
    """Returns x with axis 1 or 2 replaced by its sums with the rows of `weights` [out, in]."""
    equation = {1: "oi,biwc->bowc", 2: "oi,bhic->bhoc"}[axis]
    return jnp.einsum(equation, weights.astype(x.dtype), x, precision=lax.Precision.HIGHEST)


def _enlarged(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """Enlarges an axis by a whole factor: faster than a product, whose weights are mostly 0."""
    if factor == 1:
        return x
    length = x.shape[axis]
    part = functools.partial(lax.slice_in_dim, x, axis=axis)
    before = lax.concatenate([part(0, 1), part(0, length - 1)], axis)
    after = lax.concatenate([part(1, length), part(length - 1, length)], axis)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5  # from the position that it enlarges
        share = abs(offset)
        phases.append(x * (1 - share) + (after if offset > 0 else before) * share)
    shape = [size * factor if i == axis else size for i, size in enumerate(x.shape)]
    return jnp.stack(phases, axis + 1).reshape(shape)
