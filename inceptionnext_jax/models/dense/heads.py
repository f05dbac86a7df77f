"""Heads that classify each position of a map: UperNet's (ECCV 2018), FCN's, Semantic FPN's.

Submodules have mmsegmentation's names, initial values are its own.
"""

import functools
from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.conv_norm import ConvNorm, LevelsConvNorm
from inceptionnext_jax.models.layers.drop import DropNoise, channel_dropout
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import group_length
from inceptionnext_jax.models.layers.pool import adaptive_average_pool
from inceptionnext_jax.models.layers.resize import resize_bilinear

Maps = Sequence[jax.Array]


class PixelHead(nn.Module):
    """Convolutions with BatchNorm and ReLU, dropout of channels, a linear layer for each position.

    Attributes:
      num_classes: Outputs of each position.
      channels: Channels of the convolutions.
      dropout_rate: Rate of the dropout of channels.
      drop_index: Index of its mask among the system's heads.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      is_deployed: Whether BatchNorms are folded into the convolutions before them.
      dtype: Type of the convolutions; logits are at least float32.
    """

    num_classes: int
    channels: int
    dropout_rate: float = 0.1
    drop_index: int = 0
    bn_group_size: int = 0
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.nowrap
    def conv(self, size: int, name: str, kind: type[ConvNorm] = ConvNorm) -> ConvNorm:
        """Makes a convolution with BatchNorm and ReLU."""
        return kind(
            self.channels,
            size,
            act=nn.relu,
            bn_group_size=self.bn_group_size,
            folded=self.is_deployed,
            dtype=self.dtype,
            name=name,
        )

    @nn.nowrap
    def logits(self, x: jax.Array, noise: DropNoise | None) -> jax.Array:
        """Maps x: [B, h, w, channels] to logits [B, h, w, num_classes]."""
        wide = param_dtype(self.dtype)
        if noise is not None and self.dropout_rate > 0:
            x = channel_dropout(x, noise, self.drop_index, self.dropout_rate)
        return dense(self.num_classes, wide, "conv_seg", init_scale=0.5)(x.astype(wide))


class UperHead(PixelHead):
    """Pyramid pooling of the last map, a top-down path, and the fusion of all levels.

    Attributes, beside those of `PixelHead`:
      pool_sizes: Heights and widths of the pooled maps.
    """

    pool_sizes: Sequence[int] = (1, 2, 3, 6)

    @nn.compact
    def __call__(
        self, maps: Maps, noise: DropNoise | None = None, train: bool = False
    ) -> jax.Array:
        """Maps [B, h / 2^i, w / 2^i, C_i] to logits [B, h, w, num_classes].

        Raises:
          UserError: In training, the pooled map's statistics would be those of one value.
        """
        if train and 1 in self.pool_sizes and group_length(len(maps[0]), self.bn_group_size) == 1:
            raise UserError(
                "UperNet's pooling to 1×1 leaves BatchNorm one value of each channel; train with "
                "at least 2 images in a batch and in a group of bn_group_size"
            )
        laterals = [self.conv(1, f"lateral_convs_{i}")(x, train) for i, x in enumerate(maps[:-1])]
        laterals.append(self._pooled(maps[-1], train))
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] += resize_bilinear(laterals[i], laterals[i - 1].shape[1:3])
        levels = [self.conv(3, f"fpn_convs_{i}")(x, train) for i, x in enumerate(laterals[:-1])]
        x = self.conv(3, "fpn_bottleneck", LevelsConvNorm)([*levels, laterals[-1]], train)
        return self.logits(x, noise)

    @nn.nowrap
    def _pooled(self, x: jax.Array, train: bool) -> jax.Array:
        parts = [x]
        for i, side in enumerate(self.pool_sizes):
            pooled = adaptive_average_pool(x, (side, side))
            pooled = self.conv(1, f"psp_modules_{i}")(pooled, train)
            parts.append(resize_bilinear(pooled, x.shape[1:3]))
        return self.conv(3, "bottleneck")(jnp.concatenate(parts, -1), train)


class FcnHead(PixelHead):
    """One 3×3 convolution of one map: the auxiliary head."""

    @nn.compact
    def __call__(
        self, x: jax.Array, noise: DropNoise | None = None, train: bool = False
    ) -> jax.Array:
        """Maps x: [B, h, w, C] to logits [B, h, w, num_classes]."""
        return self.logits(self.conv(3, "convs_0")(x, train), noise)


class FpnHead(PixelHead):
    """Convolutions that enlarge every level step by step, and their sum (CVPR 2019).

    Attributes, beside those of `PixelHead`:
      steps: Doublings of each level up to the first one's resolution.
    """

    steps: Sequence[int] = (0, 1, 2, 3)

    @nn.compact
    def __call__(
        self, maps: Maps, noise: DropNoise | None = None, train: bool = False
    ) -> jax.Array:
        """Maps [B, h / 2^i, w / 2^i, C] to logits [B, h, w, num_classes]."""
        levels: list[jax.Array] = []
        for i, (x, steps) in enumerate(zip(maps, self.steps, strict=True)):
            for step in range(max(1, steps)):
                x = self.conv(3, f"scale_heads_{i}_{step}")(x, train)
                if step < steps:
                    x = resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
            # Sizes differ where sides are not multiples of the largest stride.
            levels.append(resize_bilinear(x, levels[0].shape[1:3]) if levels else x)
        return self.logits(functools.reduce(jnp.add, levels), noise)
