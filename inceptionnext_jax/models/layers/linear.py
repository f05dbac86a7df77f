"""Linear layers with PyTorch's constants, which differ from Flax's defaults."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike


def param_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Returns the type of parameters and sums in a computation of `dtype`: at least float32."""
    return jnp.promote_types(jnp.float32, dtype)


def dense(
    features: int,
    dtype: DTypeLike,
    name: str | None = None,
    init_scale: float = 1.0,
    use_bias: bool = True,
    kernel_init: Initializer | None = None,
) -> nn.Dense:
    """Makes a linear layer with biases 0.

    Initial weights are normal(0.02 × init_scale), or by `kernel_init`.
    """
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        kernel_init=kernel_init or nn.initializers.normal(0.02 * init_scale),
        dot_general=_rows_dot,
        name=name,
    )


def _rows_dot(x: jax.Array, kernel: jax.Array, *_: Any, **options: Any) -> jax.Array:
    """Multiplies all positions as the rows of one matrix.

    The gradient of the weights is then a product of two matrices. For an input of more axes, XLA
    first copies the largest activations transposed, which takes longer than the product.
    """
    rows = x.reshape(-1, x.shape[-1])
    y = lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options)
    return y.reshape(*x.shape[:-1], y.shape[-1])
