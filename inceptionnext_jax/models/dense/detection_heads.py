"""Heads of detectors: RetinaNet's (ICCV 2017), and those of Mask R-CNN (ICCV 2017) and Cascade.

Submodules have mmdetection's names, initial values are its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.conv import strided_conv
from inceptionnext_jax.models.layers.conv_norm import ConvNorm
from inceptionnext_jax.models.layers.linear import dense, param_dtype

ROI_SIZE = 7  # height and width of the features that box heads take

Maps = Sequence[jax.Array]
Scored = tuple[list[jax.Array], list[jax.Array]]  # scores and deltas of each level


class RpnHead(nn.Module):
    """Objectness and box deltas of the anchors at each position.

    Attributes:
      anchors: Anchors at each position.
      channels: Channels of the convolution.
      dtype: Compute type; results are at least float32.
    """

    anchors: int = 3
    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> Scored:
        """Maps [B, h, w, C] to logits [B, h, w, anchors] and deltas [B, h, w, 4 · anchors]."""
        conv = _conv(self.channels, 3, self.dtype, "rpn_conv")
        scores = _conv(self.anchors, 1, param_dtype(self.dtype), "rpn_cls")
        deltas = _conv(4 * self.anchors, 1, param_dtype(self.dtype), "rpn_reg")
        features = [nn.relu(conv(x)) for x in maps]
        return [scores(x) for x in features], [deltas(x) for x in features]


class RetinaHead(nn.Module):
    """Class logits and box deltas of the anchors at each position, from two towers.

    Attributes:
      num_classes: Classes, without a background.
      anchors: Anchors at each position.
      channels: Channels of the towers.
      depth: Convolutions of each tower.
      dtype: Compute type; results are at least float32.
    """

    num_classes: int
    anchors: int = 9
    channels: int = 256
    depth: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> Scored:
        """Maps [B, h, w, C] to logits [B, h, w, anchors · classes] and deltas, as `RpnHead`."""
        wide = param_dtype(self.dtype)
        rare = nn.initializers.constant(-math.log(99.0))  # objects are rare: probability 0.01
        scores = _conv(self.anchors * self.num_classes, 3, wide, "retina_cls", bias_init=rare)
        deltas = _conv(4 * self.anchors, 3, wide, "retina_reg")
        of_classes, of_boxes = self._tower("cls_convs"), self._tower("reg_convs")
        return [scores(of_classes(x)) for x in maps], [deltas(of_boxes(x)) for x in maps]

    @nn.nowrap
    def _tower(self, name: str) -> Callable[[jax.Array], jax.Array]:
        """Makes the convolutions of a tower, which all levels share."""
        convs = [_conv(self.channels, 3, self.dtype, f"{name}_{i}") for i in range(self.depth)]

        def apply(x: jax.Array) -> jax.Array:
            for conv in convs:
                x = nn.relu(conv(x))
            return x

        return apply


class BoxHead(nn.Module):
    """Class logits and class-specific box deltas of regions.

    Attributes:
      num_classes: Classes, without the background, which is the last logit.
      conv_depth: 3×3 convolutions with BatchNorm before the linear layers: 0, or 4 in Cascade.
      fc_depth: Hidden linear layers.
      conv_channels, channels: Channels of both kinds.
      bn_group_size: Regions that share training statistics; 0 is all.
      is_deployed: Whether BatchNorms are folded into the convolutions before them.
      dtype: Compute type; results are at least float32.
    """

    num_classes: int
    conv_depth: int = 0
    fc_depth: int = 2
    conv_channels: int = 256
    channels: int = 1024
    bn_group_size: int = 0
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Maps regions [R, 7, 7, C] to logits [R, classes + 1] and deltas [R, 4 · classes].

        valid: [R] bool, the regions that statistics of BatchNorms are taken of; None is all.
        """
        for i in range(self.conv_depth):
            x = ConvNorm(
                self.conv_channels,
                3,
                act=nn.relu,
                bn_group_size=self.bn_group_size,
                folded=self.is_deployed,
                dtype=self.dtype,
                name=f"shared_convs_{i}",
            )(x, train, valid)
        x = x.reshape(x.shape[0], -1)
        for i in range(self.fc_depth):
            init = nn.initializers.xavier_uniform()
            layer = dense(self.channels, self.dtype, f"shared_fcs_{i}", kernel_init=init)
            x = nn.relu(layer(x))
        wide = param_dtype(self.dtype)
        x = x.astype(wide)
        logits = dense(self.num_classes + 1, wide, "fc_cls", init_scale=0.5)(x)
        return logits, dense(4 * self.num_classes, wide, "fc_reg", init_scale=0.05)(x)


class MaskHead(nn.Module):
    """Mask logits of regions, for each class.

    Attributes:
      num_classes: Classes, without the background.
      depth: 3×3 convolutions.
      channels: Their channels.
      dtype: Compute type; results are at least float32.
    """

    num_classes: int
    depth: int = 4
    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps regions [R, 14, 14, C] to logits [R, 28, 28, classes]."""
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        for i in range(self.depth):
            conv = _conv(self.channels, 3, self.dtype, f"convs_{i}", kernel_init=init)
            x = nn.relu(conv(x))
        x = nn.relu(Doubling(self.channels, self.dtype, name="upsample")(x))
        wide = param_dtype(self.dtype)
        return dense(self.num_classes, wide, "conv_logits")(x.astype(wide))


class Doubling(nn.Module):
    """A transposed 2×2 convolution of stride 2: each position becomes four.

    Attributes:
      features: Channels of the output.
      dtype: Compute type.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [R, h, w, C] to [R, 2 · h, 2 · w, features]."""
        wide = param_dtype(self.dtype)
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, (2, 2, x.shape[-1], self.features), wide)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), wide)
        # One matrix product for all four, then the four are laid out.
        columns = kernel.transpose(2, 0, 1, 3).reshape(x.shape[-1], -1).astype(self.dtype)
        R, H, W, _ = x.shape
        y = (x.astype(self.dtype).reshape(R * H * W, -1) @ columns).reshape(R, H, W, 2, 2, -1)
        y = y.transpose(0, 1, 3, 2, 4, 5).reshape(R, 2 * H, 2 * W, self.features)
        return y + bias.astype(self.dtype)


def _conv(features: int, size: int, dtype: DTypeLike, name: str, **options: Any) -> nn.Conv:
    settings = {"kernel_init": nn.initializers.normal(0.01), **options}
    return strided_conv(features, size, 1, dtype, name, **settings)
