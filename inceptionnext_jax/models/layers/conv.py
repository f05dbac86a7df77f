"""Convolutions with PyTorch's constants, which differ from Flax's defaults."""

from typing import Any

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.ops.convolution import TAPS, conv3x3


def patch_conv(
    features: int,
    size: int,
    dtype: DTypeLike,
    name: str | None = None,
    stride: int | None = None,
    padding: int = 0,
) -> nn.Conv:
    """Makes a convolution over patches; incomplete patches at the border are cut off.

    Patches do not overlap unless `stride` is less than `size`. padding: zeros on every side.
    """
    return _conv(features, size, dtype, name, strides=stride or size, padding=padding)


def dilated_conv(
    features: int, size: int, dilation: int, dtype: DTypeLike, name: str | None = None
) -> nn.Conv:
    """Makes a convolution that keeps the resolution; odd padding is larger at the end."""
    return _conv(features, size, dtype, name, kernel_dilation=dilation, padding="SAME")


def strided_conv(
    features: int,
    size: int,
    stride: int,
    dtype: DTypeLike,
    name: str | None = None,
    padding: int | str | None = None,
    **options: Any,
) -> nn.Conv:
    """Makes a convolution with PyTorch's padding: equal on all sides, by default (size - 1) // 2.

    padding: zeros on every side, or "SAME" for TensorFlow's padding, larger at the end if odd.
    `options` are those of `nn.Conv`.
    """
    pad = (size - 1) // 2 if padding is None else padding
    if (size, stride, pad, options.get("feature_group_count", 1)) == (TAPS, 1, 1, 1):
        options["conv_general_dilated"] = _conv3x3
    return _conv(features, size, dtype, name, strides=stride, padding=pad, **options)


def _conv3x3(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    return conv3x3(x, kernel)


def _conv(features: int, size: int, dtype: DTypeLike, name: str | None, **options: Any) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        **{"kernel_init": nn.initializers.normal(0.02), **options},
        name=name,
    )
