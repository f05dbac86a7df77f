"""Token mixers of MetaNeXt blocks, by name (the paper: any mixer can be put there).

A mixer is a Linen module that maps [B, H, W, C] to the same shape. It is made by a factory that is
given `dilation` (steps between the taps of convolutions), `impl` (the implementation in `ops`),
`dtype` and `name`.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.ops.depthwise import BRANCHES, depthwise_conv, inception_mixer

MixerFactory = Callable[..., nn.Module]


class InceptionDWConv(nn.Module):
    """Inception depthwise convolution: shares of the channels get 3×3, 1×k, k×1 or no convolution.

    Attributes:
      kernel_size: k, length of the bands, odd.
      ratio: Share of the channels in each branch, rounded down.
      branches: Names in `BRANCHES`; channels of missing branches are not convolved.
      sequential: Whether both bands follow each other on one branch's channels, 1×k first.
      dilation: Steps between taps, in the bands along their length only.
      impl: The depthwise implementation.
      dtype: Compute type.
    """

    kernel_size: int = 11
    ratio: float = 1 / 8
    branches: Sequence[str] = BRANCHES
    sequential: bool = False
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W.

        Raises:
          UserError: A branch would get no channel, or more than there are.
        """
        C, k = x.shape[-1], self.kernel_size
        count = len(self.branches) - self.sequential
        width = int(C * self.ratio)
        if not 1 <= width <= C // count:
            raise UserError(
                f"ratio={self.ratio} of the mixer gives {width} of {C} channels to each of {count} "
                f"branches, expected 1 to {C // count}; use a ratio within "
                f"[{1 / C:.3g}, 1/{count}]"
            )
        sizes = {"dwconv_hw": (3, 3), "dwconv_w": (1, k), "dwconv_h": (k, 1)}
        params = {
            name: DepthwiseParams(sizes[name], width, self.dtype, name=name)()
            for name in self.branches
        }
        x = x.astype(self.dtype)
        if not self.sequential:
            return inception_mixer(x, params, self.dilation, self.impl)
        # The first band is the last share of channels; the second convolves its results.
        last = params.pop("dwconv_h")
        x = inception_mixer(x, params, self.dilation, self.impl)
        return inception_mixer(x, {"dwconv_h": last}, self.dilation, self.impl)


class DepthwiseConv(nn.Module):
    """Depthwise convolution k×k of all channels (ConvNeXt).

    Attributes:
      kernel_size: k, odd.
      dilation: Steps between taps.
      impl: The depthwise implementation.
      dtype: Compute type.
    """

    kernel_size: int = 7
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W."""
        kernel, bias = depthwise_params(self, (self.kernel_size,) * 2, x.shape[-1], self.dtype)
        return depthwise_conv(
            x.astype(self.dtype), kernel, bias, (self.dilation, self.dilation), self.impl
        )


class PartialDepthwiseConv(nn.Module):
    """Depthwise convolution k×k of the last channels only.

    The mixer of InceptionNeXt's preliminary study, which led to its own.

    Attributes:
      kernel_size: k, odd.
      ratio: Share of the channels that are convolved, rounded down.
      dilation: Steps between taps.
      impl: The depthwise implementation.
      dtype: Compute type.
    """

    kernel_size: int = 3
    ratio: float = 1 / 4
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W; raises UserError if no channel is convolved."""
        C = x.shape[-1]
        width = int(C * self.ratio)
        if not 1 <= width <= C:
            raise UserError(
                f"ratio={self.ratio} convolves {width} of {C} channels, expected 1 to {C}; "
                f"use a ratio within [{1 / C:.3g}, 1]"
            )
        kernel, bias = depthwise_params(self, (self.kernel_size,) * 2, width, self.dtype)
        first, last = jnp.split(x.astype(self.dtype), [C - width], axis=-1)
        last = depthwise_conv(last, kernel, bias, (self.dilation, self.dilation), self.impl)
        return jnp.concatenate([first, last], axis=-1)


class Attention(nn.Module):
    """Multi-head self-attention over all positions (MetaNeXt-Attn), without position embedding.

    Attributes:
      head_dim: Channels of a head, as in DeiT.
      qkv_bias: Whether queries, keys and values have a bias.
      dilation: Ignored, since every position sees every other.
      impl: Ignored.
      dtype: Type of the products; the softmax is at least float32.
    """

    head_dim: int = 64
    qkv_bias: bool = True
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C]; raises UserError if heads do not divide C."""
        B, H, W, C = x.shape
        if C % self.head_dim:
            raise UserError(
                f"{C} channels do not divide into attention heads of {self.head_dim}; "
                f"use a multiple of {self.head_dim}"
            )
        tokens = x.reshape(B, H * W, C)
        x = self_attention(tokens, self.head_dim, self.dtype, qkv_bias=self.qkv_bias)
        return x.reshape(B, H, W, C)


def self_attention(
    x: jax.Array,
    head_dim: int,
    dtype: DTypeLike,
    bias: jax.Array | None = None,
    qkv_bias: bool = True,
) -> jax.Array:
    """Computes multi-head self-attention of x: [..., N, C] within a compact method.

    Makes the layers `qkv` and `proj`.

    Args:
      x: Tokens; each of the N sees all of them.
      head_dim: Channels of a head.
      dtype: Type of the products; the softmax is at least float32.
      bias: [..., heads, N, N], added to the scores of queries (last but one axis) and keys.
      qkv_bias: Whether `qkv` has a bias.
    """
    *outer, N, C = x.shape
    wide = param_dtype(dtype)
    x = dense(3 * C, dtype, "qkv", use_bias=qkv_bias)(x).reshape(*outer, N, 3, -1, head_dim)
    query, key, value = jnp.moveaxis(x, -3, 0)
    scores = jnp.einsum("...qhd,...khd->...hqk", query * head_dim**-0.5, key).astype(wide)
    if bias is not None:
        scores = scores + bias.astype(wide)
    weights = nn.softmax(scores).astype(dtype)
    x = jnp.einsum("...hqk,...khd->...qhd", weights, value).reshape(*outer, N, C)
    return dense(C, dtype, "proj")(x)


class Pool(nn.Module):
    """Mean over the k×k positions that lie in the image, minus the input (PoolFormer).

    Attributes:
      kernel_size: k, odd.
      dilation: Steps between the positions.
      impl: Ignored.
      dtype: Type of the result; the sum is at least float32.
    """

    kernel_size: int = 3
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W."""
        x = x.astype(param_dtype(self.dtype))
        counts = self._sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
        return (self._sum(x) / counts - x).astype(self.dtype)

    def _sum(self, x: jax.Array) -> jax.Array:
        k, d = self.kernel_size, self.dilation
        pad = (d * (k - 1) // 2,) * 2
        return lax.reduce_window(
            x,
            np.zeros((), x.dtype),  # a traced one would have no gradient
            lax.add,
            window_dimensions=(1, k, k, 1),
            window_strides=(1, 1, 1, 1),
            padding=((0, 0), pad, pad, (0, 0)),
            window_dilation=(1, d, d, 1),
        )


class Identity(nn.Module):
    """No mixing, which leaves the MLP alone. All attributes are ignored."""

    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x."""
        return x


class DepthwiseParams(nn.Module):
    """Kernel [kh, kw, 1, channels] and bias [channels] of one depthwise convolution.

    The arithmetic lives in `ops`; this module only names the parameters.
    """

    kernel_size: tuple[int, int]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self) -> dict[str, jax.Array]:
        """Returns both, cast to `dtype`."""
        kernel, bias = depthwise_params(self, self.kernel_size, self.channels, self.dtype)
        return {"kernel": kernel, "bias": bias}


def depthwise_params(
    module: nn.Module, kernel_size: tuple[int, int], channels: int, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array]:
    """Makes kernel [kh, kw, 1, channels] and bias [channels] of a compact module, in `dtype`."""
    wide = param_dtype(dtype)
    kernel = module.param("kernel", nn.initializers.normal(0.02), (*kernel_size, 1, channels), wide)
    bias = module.param("bias", nn.initializers.zeros, (channels,), wide)
    return kernel.astype(dtype), bias.astype(dtype)


TOKEN_MIXERS: dict[str, MixerFactory] = {
    "attention": Attention,
    "depthwise": DepthwiseConv,
    "identity": Identity,
    "inception": InceptionDWConv,
    "partial_depthwise": PartialDepthwiseConv,
    "pool": Pool,
}


def token_mixer_factory(
    mixer: str | MixerFactory, kernel_size: int | None = None, ratio: float | None = None
) -> MixerFactory:
    """Returns the factory behind a name; a factory (a class, a partial) passes through.

    Args:
      mixer: A name in `TOKEN_MIXERS`, or a factory.
      kernel_size: Kernel size; None is the mixer's default.
      ratio: Share of channels that it, or each of its branches, convolves; None is the default.

    Raises:
      UserError: The name is unknown, or the mixer has no such setting.
    """
    if isinstance(mixer, str):
        if mixer not in TOKEN_MIXERS:
            raise UserError(
                f"token_mixer={mixer!r} is unknown, expected one of "
                f"{', '.join(sorted(TOKEN_MIXERS))}{suggestion(mixer, TOKEN_MIXERS)}"
            )
        mixer = TOKEN_MIXERS[mixer]
    changes = {"kernel_size": kernel_size, "ratio": ratio}
    changes = {setting: value for setting, value in changes.items() if value is not None}
    kind = mixer.func if isinstance(mixer, functools.partial) else mixer
    for setting, value in changes.items():
        if not hasattr(kind, setting):
            raise UserError(
                f"the token mixer {getattr(kind, '__name__', kind)} has no {setting} to set to "
                f"{value}; leave it out or choose another mixer"
            )
    return functools.partial(mixer, **changes) if changes else mixer
