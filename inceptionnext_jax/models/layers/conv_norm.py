"""A convolution with its norm and activation."""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.conv import strided_conv
from inceptionnext_jax.models.layers.enlarged_conv import LevelsConv
from inceptionnext_jax.models.layers.norm import BatchNorm, LayerNorm


class ConvNorm(nn.Module):
    """A convolution, optionally followed by a norm and an activation.

    Attributes:
      features: Channels of the output.
      size: Height and width of the kernel.
      stride: Stride.
      groups: Number of groups of channels that are convolved separately.
      norm: "batch", "layer" or None.
      bias: Whether the convolution has a bias; folding a norm adds one.
      act: Activation after the norm.
      zero_init: Whether the norm's scale begins as 0.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      folded: Whether a BatchNorm is folded into the convolution.
      padding: Zeros on all sides, None for (size - 1) // 2, or "SAME" for TensorFlow's padding.
      epsilon: Epsilon of a BatchNorm.
      dtype: Compute type.
    """

    features: int
    size: int = 1
    stride: int = 1
    groups: int = 1
    norm: str | None = "batch"
    bias: bool = False
    act: Callable[[jax.Array], jax.Array] | None = None
    zero_init: bool = False
    bn_group_size: int = 0
    folded: bool = False
    padding: int | str | None = None
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Any, train: bool = False, valid: jax.Array | None = None) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / stride⌉, ⌈W / stride⌉, features].

        valid: [B] bool, the rows that a BatchNorm's statistics are taken of; None is all.
        """
        folds = self.folded and self.norm == "batch"
        if folds and train:
            raise UserError(
                "a deployed network has no norms left to train; train the network it was made "
                "from and deploy the result"
            )
        x = self._conv(self.bias or folds)(x)
        if self.norm == "batch" and not folds:
            scale = 0.0 if self.zero_init else 1.0
            norm = BatchNorm(
                self.bn_group_size,
                epsilon=self.epsilon,
                scale_init=scale,
                dtype=self.dtype,
                name="norm",
            )
            x = norm(x, train, valid)
        elif self.norm == "layer":
            x = LayerNorm(dtype=self.dtype, name="norm")(x)
        return x if self.act is None else self.act(x)

    @nn.nowrap
    def _conv(self, use_bias: bool) -> nn.Module:
        return strided_conv(
            self.features,
            self.size,
            self.stride,
            self.dtype,
            "conv",
            self.padding,
            feature_group_count=self.groups,
            use_bias=use_bias,
            kernel_init=self._kernel_init(),
        )

    @nn.nowrap
    def _kernel_init(self) -> Callable[..., jax.Array]:
        fan_out = self.size**2 * self.features / self.groups
        return nn.initializers.normal(math.sqrt(2 / fan_out))


class LevelsConvNorm(ConvNorm):
    """The same for a 3×3 convolution of a pyramid's levels, enlarged to the size of the first.

    Called with maps [B, h_i, w_i, C_i] it returns [B, h_0, w_0, features]. Parameters are those of
    `ConvNorm` for the maps' channels one after the other.
    """

    size: int = 3

    @nn.nowrap
    def _conv(self, use_bias: bool) -> nn.Module:
        return LevelsConv(self.features, use_bias, self._kernel_init(), self.dtype, name="conv")
