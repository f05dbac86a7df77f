"""Depthwise convolution and the split-channel mixer of InceptionNeXt (the paper's method section).

Every implementation takes the same parameters and gives the same result, so models need not know
which one runs. `auto` picks from `MEASURED`: XLA's grouped convolution is an order of magnitude
slower than shifted multiply-adds on a CPU, while accelerators have kernels for it.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.errors import UserError, suggestion

Implementation = Callable[[jax.Array, jax.Array, tuple[int, int]], jax.Array]

BACKENDS = ("cpu", "gpu", "tpu")  # as `jax.default_backend` names them

# The convolved branches in the order of their channels, after the untouched ones.
BRANCHES = ("dwconv_hw", "dwconv_w", "dwconv_h")


def depthwise_conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    dilation: tuple[int, int] = (1, 1),
    impl: str = "auto",
) -> jax.Array:
    """Convolves each channel with its own kernel; stride 1, size kept.

    Pads with zeros, dilation × (k - 1) / 2 on both sides, as is usual in PyTorch.

    Args:
      x: [B, H, W, C] floats.
      kernel: [kh, kw, 1, C], kh and kw odd, of x's dtype.
      bias: [C] or None.
      dilation: Steps between the taps along H and W.
      impl: A name in `IMPLEMENTATIONS`, or "auto".

    Returns:
      [B, H, W, C] of x's dtype.

    Raises:
      UserError: `impl` is unknown, or the kernel has an even size.
    """
    kh, kw = kernel.shape[:2]
    if kh % 2 == 0 or kw % 2 == 0:
        raise UserError(f"depthwise kernel is {kh}×{kw}, expected odd sizes; use k ± 1")
    check_impl(impl)
    name, _, backend = impl.partition(":")
    if name == "auto":
        backend = backend or jax.default_backend()
        impl = measured_impl(backend, (kh, kw), x.shape, jnp.dtype(x.dtype))
    y = IMPLEMENTATIONS[impl](x, kernel, dilation)
    return y if bias is None else y + bias


def inception_mixer(
    x: jax.Array,
    params: Mapping[str, Mapping[str, jax.Array]],
    dilation: int = 1,
    impl: str = "auto",
) -> jax.Array:
    """The token mixer of InceptionNeXt: identity, square, horizontal and vertical band.

    Channels are split into rest | hw | w | h; the rest passes untouched, the others are convolved
    depthwise, and the parts are joined in the same order. Channels of a branch that `params` lacks
    belong to the rest.

    Args:
      x: [B, H, W, C] floats.
      params: {"kernel": [kh, kw, 1, g], "bias": [g]} for each of `BRANCHES`, or some of them.
      dilation: Steps between taps along both axes.
      impl: As in `depthwise_conv`.

    Returns:
      [B, H, W, C] of x's dtype.
    """
    branches = [name for name in BRANCHES if name in params]
    start = x.shape[-1] - sum(params[name]["kernel"].shape[-1] for name in branches)
    parts = [x[..., :start]]
    for name in branches:
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        stop = start + kernel.shape[-1]
        parts.append(depthwise_conv(x[..., start:stop], kernel, bias, (dilation, dilation), impl))
        start = stop
    return jnp.concatenate(parts, axis=-1)


def check_impl(impl: str) -> None:
    """Raises UserError for an unknown implementation, without touching a device."""
    choices = ["auto", *sorted(IMPLEMENTATIONS)]
    if impl not in choices and impl not in map(auto_for, BACKENDS):
        raise UserError(
            f"depthwise_impl={impl!r} is unknown, expected one of {', '.join(choices)}"
            f"{suggestion(str(impl), choices)}"
        )


def auto_for(backend: str) -> str:
    """Returns the `impl` that chooses as "auto" does on this backend, on any machine."""
    return f"auto:{backend}"


class Measured(NamedTuple):
    """The fastest implementation on a backend, as measured (docs/performance.md).

    Attributes:
      backend: JAX's name of the backend.
      taps: Largest number of kernel positions for which it is the fastest.
      impl: A name in `IMPLEMENTATIONS`.
    """

    backend: str
    taps: int
    impl: str


# The first row that fits is used; where nothing was measured, XLA's own convolution.
MEASURED = (Measured("cpu", 121, "shift_dot"),)


@functools.cache
def measured_impl(
    backend: str, size: tuple[int, int], shape: tuple[int, ...], dtype: jnp.dtype
) -> str:
    """Returns the fastest known implementation, and logs it once per set of arguments."""
    taps = size[0] * size[1]
    fitting = (row.impl for row in MEASURED if row.backend == backend and taps <= row.taps)
    impl = next(fitting, "conv")
    logging.getLogger(__name__).info(
        "depthwise %d×%d of %s %s on %s: %s", *size, dtype, list(shape), backend, impl
    )
    return impl


def _padding(kernel: jax.Array, dilation: tuple[int, int]) -> list[tuple[int, int]]:
    halves = [d * (k - 1) // 2 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    return [(half, half) for half in halves]


def _conv(x: jax.Array, kernel: jax.Array, dilation: tuple[int, int]) -> jax.Array:
    """XLA's convolution with one group per channel."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=_padding(kernel, dilation),
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _shift(x: jax.Array, kernel: jax.Array, dilation: tuple[int, int]) -> jax.Array:
    """Sums shifted views of the padded input, each times its tap: one fused loop on a CPU."""
    _, H, W, _ = x.shape
    kh, kw = kernel.shape[:2]
    # A sum of many products needs more than bfloat16; convolutions accumulate in float32 as well.
    wide = jnp.promote_types(jnp.float32, x.dtype)
    padded = jnp.pad(x, ((0, 0), *_padding(kernel, dilation), (0, 0))).astype(wide)
    # Without it, XLA may pad again for each tap, or for each loop it splits this one into.
    padded = lax.optimization_barrier(padded)
    taps = kernel.astype(wide)
    terms = []
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            terms.append(padded[:, top : top + H, left : left + W] * taps[i, j, 0])
    return functools.reduce(jnp.add, terms).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _shift_dot(x: jax.Array, kernel: jax.Array, dilation: tuple[int, int]) -> jax.Array:
    """`_shift` with gradients computed by `_shift` and by matrix products.

    JAX's own gradient for the kernel takes one pass over all activations per tap. Products of all
    pairs of columns take fewer passes, though only a few of their diagonals are used.
    """
    return _shift(x, kernel, dilation)


def _shift_dot_forward(x, kernel, dilation):
    return _shift(x, kernel, dilation), (x, kernel)


def _shift_dot_backward(dilation, residuals, g):
    x, kernel = residuals
    dx = _shift(g, kernel[::-1, ::-1], dilation)
    return dx, _kernel_gradient(x, g, kernel.shape[:2], dilation).astype(kernel.dtype)


_shift_dot.defvjp(_shift_dot_forward, _shift_dot_backward)


def _kernel_gradient(
    x: jax.Array, g: jax.Array, size: tuple[int, int], dilation: tuple[int, int]
) -> jax.Array:
    """Returns Σ_bhw x[b, h + i, w + j, c] g[b, h, w, c] as [kh, kw, 1, C], in float32 at least."""
    kh, kw = size
    if kh > kw:
        # One product per row of the kernel: transposing makes rows the shorter side.
        swapped = _kernel_gradient(x.swapaxes(1, 2), g.swapaxes(1, 2), (kw, kh), dilation[::-1])
        return swapped.swapaxes(0, 1)
    B, H, W, C = x.shape
    wide = jnp.promote_types(jnp.float32, x.dtype)
    top, left = dilation[0] * (kh - 1) // 2, dilation[1] * (kw - 1) // 2
    padded = jnp.pad(x.transpose(3, 0, 1, 2), ((0, 0), (0, 0), (top, top), (0, 0)))
    # Without the barrier the transposition is repeated for each row.
    g = lax.optimization_barrier(g.transpose(3, 0, 1, 2).reshape(C, B * H, W))
    pairs = []
    for i in range(kh):
        rows = padded[:, :, i * dilation[0] : i * dilation[0] + H].reshape(C, B * H, W)
        axes = (((1,), (1,)), ((0,), (0,)))
        pairs.append(lax.dot_general(rows, g, axes, preferred_element_type=wide))
    column = jnp.arange(W)
    taps = jnp.arange(kw)[:, None, None] * dilation[1] - left
    diagonals = (column[:, None] == column + taps).astype(wide)
    return jnp.einsum("icuw,juw->ijc", jnp.stack(pairs), diagonals)[:, :, None]


def _toeplitz(x: jax.Array, kernel: jax.Array, dilation: tuple[int, int]) -> jax.Array:
    """Multiplies each channel's rows by a banded matrix, once per row of the kernel."""
    kh, kw = kernel.shape[:2]
    if kh > kw:
        swapped = _toeplitz(x.swapaxes(1, 2), kernel.swapaxes(0, 1), dilation[::-1])
        return swapped.swapaxes(1, 2)
    _, H, W, _ = x.shape
    wide = jnp.promote_types(jnp.float32, x.dtype)
    (top, _), (left, _) = _padding(kernel, dilation)
    padded = jnp.pad(x, ((0, 0), (top, top), (0, 0), (0, 0)))
    column = jnp.arange(W)
    taps = jnp.arange(kw)[:, None, None] * dilation[1] - left
    diagonals = (column[:, None] == column + taps).astype(wide)
    bands = jnp.einsum("ijc,juw->icuw", kernel[:, :, 0].astype(wide), diagonals)
    total = jnp.zeros(x.shape, wide)
    for i in range(kh):
        rows = padded[:, i * dilation[0] : i * dilation[0] + H].astype(wide)
        total += jnp.einsum("bhuc,cuw->bhwc", rows, bands[i])
    return total.astype(x.dtype)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "conv": _conv,
    "shift": _shift,
    "shift_dot": _shift_dot,
    "toeplitz": _toeplitz,
}
