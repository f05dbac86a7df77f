"""Token mixers of MetaNeXt blocks, by name (the paper: any mixer can be put there).

A mixer is a Linen module that maps [B, H, W, C] to the same shape. It is made from a factory that
is given `dilation` (steps between the taps of convolutions), `impl` (which implementation in `ops`
to use), `dtype` and `name`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.layers import param_dtype
from inceptionnext_jax.ops.depthwise import BRANCHES, depthwise_conv, inception_mixer

MixerFactory = Callable[..., nn.Module]


class InceptionDWConv(nn.Module):
    """Inception depthwise convolution: each share of channels stays or gets 3×3, 1×k or k×1.

    Attributes:
      band_kernel_size: k, odd.
      branch_ratio: Share of the channels of each of the three convolved branches, rounded down.
      dilation: Steps between taps, in the bands along their length only.
      impl: Which depthwise implementation to use.
      dtype: Of the computation.
    """

    band_kernel_size: int = 11
    branch_ratio: float = 1 / 8
    dilation: int = 1
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W.

        Raises:
          UserError: A branch would get no channel, or more than there are.
        """
        C, k = x.shape[-1], self.band_kernel_size
        width = int(C * self.branch_ratio)
        if not 1 <= width <= C // 3:
            raise UserError(
                f"branch_ratio={self.branch_ratio} gives {width} of {C} channels to each of three "
                f"branches, expected 1 to {C // 3}; use a ratio within [{1 / C:.3g}, 1/3]"
            )
        sizes = {"dwconv_hw": (3, 3), "dwconv_w": (1, k), "dwconv_h": (k, 1)}
        params = {
            name: DepthwiseParams(sizes[name], width, self.dtype, name=name)() for name in BRANCHES
        }
        return inception_mixer(x.astype(self.dtype), params, self.dilation, self.impl)


class DepthwiseConv(nn.Module):
    """Depthwise convolution k×k of all channels: ConvNeXt's mixer.

    Attributes:
      kernel_size: k, odd.
      dilation: Steps between taps.
      impl: Which depthwise implementation to use.
      dtype: Of the computation.
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


class DepthwiseParams(nn.Module):
    """Owns kernel [kh, kw, 1, channels] and bias [channels] of one depthwise convolution.

    The arithmetic lives in `ops`; this only gives the parameters their place in the tree.
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
    "depthwise": DepthwiseConv,
    "inception": InceptionDWConv,
}


def token_mixer_factory(mixer: str | MixerFactory) -> MixerFactory:
    """Returns the factory behind a name; a factory (a class, a partial) passes through.

    Raises:
      UserError: The name is unknown.
    """
    if not isinstance(mixer, str):
        return mixer
    if mixer not in TOKEN_MIXERS:
        raise UserError(
            f"token_mixer={mixer!r} is unknown, expected one of {', '.join(sorted(TOKEN_MIXERS))}"
            f"{suggestion(mixer, TOKEN_MIXERS)}"
        )
    return TOKEN_MIXERS[mixer]
