"""A 3×3 convolution whose gradient for the kernel is computed by matrix products where it pays."""

import jax
import jax.numpy as jnp
from jax import lax

TAPS = 3  # height and width of the kernel


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution with stride 1, padded with zeros.

    Args:
      x: [B, H, W, C] floats.
      kernel: [3, 3, C, O], of x's dtype.

    Returns:
      [B, H, W, O] of x's dtype.
    """
    return _with_products(x, kernel) if products_are_faster(x, kernel) else _conv(x, kernel)


def products_are_faster(x: jax.Array, kernel: jax.Array) -> bool:
    """Returns whether XLA's own gradient for the kernel is slower (docs/performance.md)."""
    positions, weights = x.shape[1] * x.shape[2], kernel.shape[2] * kernel.shape[3]
    return jax.default_backend() == "cpu" and positions >= 64**2 and weights >= 512**2


def _conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)


@jax.custom_vjp
def _with_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _conv(x, kernel)


def _forward(x, kernel):
    return _conv(x, kernel), (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    (dx,) = jax.linear_transpose(lambda x: _conv(x, kernel), x)(g)
    return dx, _kernel_gradient(x, g).astype(kernel.dtype)


_with_products.defvjp(_forward, _backward)


def _kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns Σ_bhw x[b, h + i, w + j, c] g[b, h, w, o] as [3, 3, C, O], at least in float32."""
    _, H, W, C = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = g.reshape(-1, g.shape[-1])
    wide = jnp.promote_types(jnp.float32, x.dtype)

    def tap(index: jax.Array) -> jax.Array:
        moved = lax.dynamic_slice_in_dim(padded, index // TAPS, H, axis=1)
        moved = lax.dynamic_slice_in_dim(moved, index % TAPS, W, axis=2)
        dimensions = (((0,), (0,)), ((), ()))
        return lax.dot_general(moved.reshape(-1, C), rows, dimensions, preferred_element_type=wide)

    # One after the other, so that nine moved copies of x never exist at once.
    taps = lax.map(tap, jnp.arange(TAPS * TAPS))
    return taps.reshape(TAPS, TAPS, C, -1)
