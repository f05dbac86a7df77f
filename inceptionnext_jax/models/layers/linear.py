"""Layers with PyTorch's constants, which differ from Flax's defaults."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike


def param_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Returns what parameters and sums have where the computation has `dtype`: ≥ float32."""
    return jnp.promote_types(jnp.float32, dtype)


def dense(
    features: int,
    dtype: DTypeLike,
    name: str | None = None,
    init_scale: float = 1.0,
    use_bias: bool = True,
) -> nn.Dense:
    """A linear layer; its first weights are normal(0.02 × init_scale), its biases 0."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        kernel_init=nn.initializers.normal(0.02 * init_scale),
        dot_general=_rows_dot,
        name=name,
    )


def _rows_dot(x: jax.Array, kernel: jax.Array, *_: Any, **options: Any) -> jax.Array:
    """Multiplies all positions as the rows of one matrix.

    The gradient of the weights is then a product of two matrices. From an input of more axes, XLA
    makes one with a transposed copy of the largest activations, which takes longer than itself.
    """
    rows = x.reshape(-1, x.shape[-1])
    y = lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def patch_conv(
    features: int,
    size: int,
    dtype: DTypeLike,
    name: str | None = None,
    stride: int | None = None,
    padding: int = 0,
) -> nn.Conv:
    """A convolution over patches; what is left at the border is cut off.

    Patches do not overlap unless `stride` is less than `size`. padding: zeros on every side.
    """
    return _conv(features, size, dtype, name, strides=stride or size, padding=padding)


def dilated_conv(
    features: int, size: int, dilation: int, dtype: DTypeLike, name: str | None = None
) -> nn.Conv:
    """A convolution that keeps the resolution; of an odd padding the larger part lies behind."""
    return _conv(features, size, dtype, name, kernel_dilation=dilation, padding="SAME")


def strided_conv(
    features: int,
    size: int,
    stride: int,
    dtype: DTypeLike,
    name: str | None = None,
    padding: int | None = None,
    **options: Any,
) -> nn.Conv:
    """A convolution with PyTorch's padding: the same on all sides, (size - 1) // 2 if not given.

    `options` are those of `nn.Conv`.
    """
    pad = (size - 1) // 2 if padding is None else padding
    return _conv(features, size, dtype, name, strides=stride, padding=pad, **options)


class LayerScale(nn.Module):
    """Multiplies channels by learned numbers, `gamma` [C], whose first value is `first`."""

    first: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scales x: [..., C]."""
        constant = nn.initializers.constant(self.first)
        gamma = self.param("gamma", constant, (x.shape[-1],), param_dtype(self.dtype))
        return x * gamma.astype(self.dtype)


def _conv(features: int, size: int, dtype: DTypeLike, name: str | None, **options: Any) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        **{"kernel_init": nn.initializers.normal(0.02), **options},
        name=name,
    )


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maps x: [B, H, W, C] to the largest of each 2×2 positions, [B, H // 2, W // 2, C].

    As four strided views, for XLA's CPU compiler puts a reduced window into the matrix product
    before it, which then takes longer. Equal largest values share the gradient.
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
