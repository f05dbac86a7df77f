"""A 3×3 convolution of a pyramid's levels, enlarged to one size, that never enlarges the levels.

UperNet fuses its levels so, and nearly half of its multiply-accumulates are there. Enlarging is
linear and treats all channels alike, so the taps of the kernel may be applied before it: at a
quarter of the positions, or fewer. Enlarging, shifting by a tap, and the border of zeros are then
one matrix for the rows and one for the columns, both constant.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.ops.bilinear import bilinear_matrix
from inceptionnext_jax.ops.convolution import TAPS, conv3x3


class LevelsConv(nn.Module):
    """The 3×3 convolution of the levels' channels one after the other, at the first level's size.

    Parameters are those of `nn.Conv` on the enlarged levels: `kernel` [3, 3, ΣC_i, features] and
    with `use_bias` `bias` [features], at least float32.

    Attributes:
      features: Channels of the output.
      use_bias: Whether there is a bias.
      kernel_init: Initialiser of the kernel.
      dtype: Type of products and of the result; sums are at least float32.
    """

    features: int
    use_bias: bool = False
    kernel_init: Callable[..., jax.Array] = nn.initializers.normal(0.02)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> jax.Array:
        """Maps levels [B, h_i, w_i, C_i] to [B, h_0, w_0, features]."""
        wide = param_dtype(self.dtype)
        shape = (TAPS, TAPS, sum(x.shape[-1] for x in levels), self.features)
        kernel = self.param("kernel", self.kernel_init, shape, wide).astype(self.dtype)
        x = conv_of_enlarged([level.astype(self.dtype) for level in levels], kernel)
        if self.use_bias:
            x += self.param("bias", nn.initializers.zeros, (self.features,), wide)
        return x.astype(self.dtype)


@jax.jit
def conv_of_enlarged(levels: Sequence[jax.Array], kernel: jax.Array) -> jax.Array:
    """The 3×3 convolution, padded with zeros, of levels that are bilinearly enlarged and joined.

    Args:
      levels: [B, h_i, w_i, C_i] floats, enlarged to [B, h_0, w_0, C_i].
      kernel: [3, 3, ΣC_i, O], of the levels' dtype.

    Returns:
      [B, h_0, w_0, O], at least float32.
    """
    size, start = levels[0].shape[1:3], 0
    parts = []
    for x in levels:
        stop = start + x.shape[-1]
        part = kernel[:, :, start:stop]
        is_enlarged = x.shape[1:3] != size
        parts.append(_conv_enlarged(x, part, size) if is_enlarged else conv3x3(x, part))
        start = stop
    return functools.reduce(jnp.add, [y.astype(param_dtype(y.dtype)) for y in parts])


def _conv_enlarged(x: jax.Array, kernel: jax.Array, size: tuple[int, ...]) -> jax.Array:
    B, h, w, C = x.shape
    (H, W), outputs, wide = size, kernel.shape[-1], param_dtype(x.dtype)
    rows = _shifted(h, H).reshape(H, TAPS * h)
    columns = _shifted(w, W).swapaxes(1, 2).reshape(W, w * TAPS)
    positions = x.reshape(-1, C)
    strips = []
    for taps in kernel:  # of one row of the kernel, so that all results lie as they are needed
        products = positions @ taps.swapaxes(0, 1).reshape(C, TAPS * outputs)
        strips.append(_times(columns, products.reshape(B * h, w * TAPS, outputs).astype(wide)))
    stacked = jnp.stack([strip.reshape(B, h, W * outputs) for strip in strips], axis=1)
    return _times(rows, stacked.reshape(B, TAPS * h, W * outputs)).reshape(B, H, W, outputs)


def _shifted(before: int, after: int) -> np.ndarray:
    """Returns [after, 3, before] weights: enlarging, and shifts by -1, 0 and 1 with zeros."""
    weights = np.pad(bilinear_matrix(before, after), ((1, 1), (0, 0)))
    return np.stack([weights[i : i + after] for i in range(TAPS)], axis=1)


def _times(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """Returns matrix [m, k] times each of x [n, k, l], as [n, m, l]."""
    # One matrix for all, not repeated, would make XLA transpose x and the result.
    repeated = jnp.broadcast_to(jnp.asarray(matrix, x.dtype), (x.shape[0], *matrix.shape))
    return jnp.matmul(repeated, x, precision=lax.Precision.HIGHEST)
