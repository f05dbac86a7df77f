"""EfficientNet-B3 to -B7 (ICML 2019), as in timm's networks for TensorFlow's weights.

Inverted bottlenecks with squeeze and excitation. Widths and depths are B0's times a factor each,
rounded. Padding is TensorFlow's, larger at the end, and the epsilon of BatchNorm 1e-3. Initial
values are those of `ConvNorm`.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.folding import without_norms
from inceptionnext_jax.models.layers.conv_norm import ConvNorm
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.names import (
    BATCH_NORM,
    CONV,
    LINEAR,
    POINTWISE,
    Rule,
)
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.resnet import Factory, SqueezeExcite

_EPSILON = 1e-3
_STEM, _HEAD = 32, 1280  # channels of B0
_DIMS = (16, 24, 40, 80, 112, 192, 320)
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_SIZES = (3, 3, 5, 3, 5, 5, 3)
_PYRAMID_STAGES = (1, 2, 4, 6)  # the last of each stride from 4


class EfficientNet(ResidualNetwork):
    """A strided 3×3 convolution, seven stages of bottlenecks, a wide 1×1 convolution, a classifier.

    Attributes:
      block_dims: Channels of each of the seven stages.
      stem_dim: Channels of the first convolution.
      head_dim: Channels of the last.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      is_deployed: Whether BatchNorms are folded into the convolutions before them, as after
        `deployed`; such a network cannot be trained.
    """

    block_dims: Sequence[int]
    stem_dim: int
    head_dim: int
    bn_group_size: int = 0
    is_deployed: bool = False

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Channels of the `features`."""
        return tuple(self.block_dims[stage] for stage in _PYRAMID_STAGES)

    def setup(self) -> None:
        conv = functools.partial(
            ConvNorm,
            padding="SAME",
            epsilon=_EPSILON,
            bn_group_size=self.bn_group_size,
            folded=self.is_deployed,
            dtype=self.dtype,
        )
        self.stem = conv(self.stem_dim, 3, 2, act=nn.silu)
        kinds = zip(self.stage_depths, self.block_dims, _STRIDES, _SIZES, strict=True)
        self.stages = self.make_stages(
            [
                [
                    functools.partial(
                        InvertedBottleneck,
                        dim=dim,
                        size=size,
                        stride=1 if j else stride,
                        expansion=6 if stage else 1,
                        conv=conv,
                    )
                    for j in range(depth)
                ]
                for stage, (depth, dim, stride, size) in enumerate(kinds)
            ]
        )
        self.classifier = ConvHead(
            self.num_classes,
            self.dropout_rate,
            drop_index=sum(self.stage_depths),
            init_scale=0.5,
            hidden=self.head_dim,
            conv=conv,
            dtype=self.dtype,
            name="head",
        )

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the output of the last stage of each stride s = 4, 8, 16, 32."""
        maps = super().features(x, train, positions)
        return tuple(maps[stage] for stage in _PYRAMID_STAGES)

    def _classified(self, x: jax.Array, train: bool, noise: DropNoise | None) -> jax.Array:
        return self.classifier(x, noise, train)

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["EfficientNet", dict[str, Any]]:
        """Returns the network without BatchNorms and its variables: exact in inference.

        Args:
          variables: "params" and "batch_stats".

        Raises:
          UserError: The running statistics are missing.
        """
        if self.is_deployed:
            return self, dict(variables)
        return self.clone(is_deployed=True), without_norms(variables, _EPSILON)


class InvertedBottleneck(nn.Module):
    """1×1(SE(depthwise(1×1(x)))), each convolution with its norm, plus x where shapes agree.

    Attributes:
      dim: Channels of the output.
      size: Size of the depthwise kernel.
      stride: Stride of the depthwise convolution.
      expansion: Channels between the 1×1 convolutions over those of the input; at 1 there is no
        first convolution.
      conv: Factory of convolutions with norms.
    """

    dim: int
    size: int
    stride: int
    expansion: int
    conv: Factory

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        block_index: int,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / stride⌉, ⌈W / stride⌉, dim], as `metanext.Block`."""
        C = x.shape[-1]
        width, y = self.expansion * C, x
        if self.expansion > 1:
            y = self.conv(width, act=nn.silu, name="conv_pw")(y, train)
        depthwise = self.conv(
            width, self.size, self.stride, groups=width, act=nn.silu, name="conv_dw"
        )
        y = depthwise(y, train)
        y = SqueezeExcite(C // 4, nn.silu, y.dtype, name="se")(y)
        y = self.conv(self.dim, name="conv_pwl")(y, train)
        if x.shape != y.shape:
            return y
        if noise is not None:
            y = drop_path(y, noise, block_index, rate)
        return x + y


class ConvHead(PlainHead):
    """A 1×1 convolution with its norm and activation, then as `PlainHead`.

    Attributes:
      hidden: Channels of the convolution.
      conv: Factory of convolutions with norms.
    """

    hidden: int = 0
    conv: Factory = ConvNorm

    @nn.compact
    def __call__(
        self, x: jax.Array, noise: DropNoise | None = None, train: bool = False
    ) -> jax.Array:
        """Maps x: [B, h, w, C] to logits [B, num_classes]."""
        x = self.conv(self.hidden, act=nn.silu, name="conv")(x, train)
        return super().__call__(x, noise)


# The first stage has no expansion, and other names in timm.
_FIRST, _LATER = r"stages_0/blocks_(\d+)", r"stages_([1-6])/blocks_(\d+)"
_NAMES = (
    Rule(r"stem/conv", r"conv_stem", CONV),
    Rule(r"stem/norm", r"bn1", BATCH_NORM),
    Rule(rf"{_FIRST}/conv_dw/conv", r"blocks.0.\1.conv_dw", CONV),
    Rule(rf"{_FIRST}/conv_dw/norm", r"blocks.0.\1.bn1", BATCH_NORM),
    Rule(rf"{_FIRST}/conv_pwl/conv", r"blocks.0.\1.conv_pw", CONV),
    Rule(rf"{_FIRST}/conv_pwl/norm", r"blocks.0.\1.bn2", BATCH_NORM),
    Rule(rf"{_LATER}/(conv_\w+)/conv", r"blocks.\1.\2.\3", CONV),
    Rule(rf"{_LATER}/conv_pw/norm", r"blocks.\1.\2.bn1", BATCH_NORM),
    Rule(rf"{_LATER}/conv_dw/norm", r"blocks.\1.\2.bn2", BATCH_NORM),
    Rule(rf"{_LATER}/conv_pwl/norm", r"blocks.\1.\2.bn3", BATCH_NORM),
    Rule(r"stages_(\d+)/blocks_(\d+)/se/fc1", r"blocks.\1.\2.se.conv_reduce", POINTWISE),
    Rule(r"stages_(\d+)/blocks_(\d+)/se/fc2", r"blocks.\1.\2.se.conv_expand", POINTWISE),
    Rule(r"head/conv/conv", r"conv_head", CONV),
    Rule(r"head/conv/norm", r"bn2", BATCH_NORM),
    Rule(r"head/fc", r"classifier", LINEAR),
)
_FAMILY = Family((_NAMES,))


def _rounded(channels: int, factor: float) -> int:
    """Returns the nearest multiple of 8, or the next above if that is less than 90 %."""
    wide = channels * factor
    nearest = max(8, int(wide + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wide else nearest


def _register(
    name: str, width: float, depth: float, size: int, crop_pct: float, top1: float
) -> None:
    info = ModelInfo(
        name=f"efficientnet_{name}",
        input_size=size,
        stage_depths=tuple(math.ceil(depth * blocks) for blocks in _DEPTHS),
        feature_strides=PYRAMID,
        family=_FAMILY,
        crop_pct=crop_pct,
        top1=top1,
        top1_source="reported by the paper of ConvNeXt",
        hub_id=f"timm/tf_efficientnet_{name}.aa_in1k",
        licence="apache-2.0",
    )
    settings: dict[str, Any] = {
        "block_dims": tuple(_rounded(dim, width) for dim in _DIMS),
        "stem_dim": _rounded(_STEM, width),
        "head_dim": _rounded(_HEAD, width),
    }
    register_model(info, functools.partial(EfficientNet, **settings))


_register("b3", 1.2, 1.4, 300, 0.904, top1=0.816)
_register("b4", 1.4, 1.8, 380, 0.922, top1=0.829)
_register("b5", 1.6, 2.2, 456, 0.934, top1=0.836)
_register("b6", 1.8, 2.6, 528, 0.942, top1=0.840)
_register("b7", 2.0, 3.1, 600, 0.949, top1=0.843)
