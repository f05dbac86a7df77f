"""Layers with PyTorch's constants, which differ from Flax's defaults."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike


def param_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Returns what parameters and sums have where the computation has `dtype`: ≥ float32."""
    return jnp.promote_types(jnp.float32, dtype)


def dense(
    features: int, dtype: DTypeLike, name: str | None = None, init_scale: float = 1.0
) -> nn.Dense:
    """A linear layer; its first weights are normal(0.02 × init_scale), its biases 0."""
    return nn.Dense(
        features,
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


def patch_conv(features: int, size: int, dtype: DTypeLike, name: str | None = None) -> nn.Conv:
    """A convolution over patches that do not overlap; what is left at the border is cut off."""
    return _conv(features, size, dtype, name, strides=size, padding="VALID")


def dilated_conv(
    features: int, size: int, dilation: int, dtype: DTypeLike, name: str | None = None
) -> nn.Conv:
    """A convolution that keeps the resolution; of an odd padding the larger part lies behind."""
    return _conv(features, size, dtype, name, kernel_dilation=dilation, padding="SAME")


def _conv(features: int, size: int, dtype: DTypeLike, name: str | None, **options: Any) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        kernel_init=nn.initializers.normal(0.02),
        name=name,
        **options,
    )
