"""ResNet-50, -101, -152 and -200 (CVPR 2016), as in timm and torchvision: the stride is on the 3×3.

ResNeXt-101 (CVPR 2017) has wider blocks, whose 3×3 is in as many groups in every stage. RegNetY and
the roadmap from ResNet-50 to ConvNeXt are also made of `ResNet`, with other stems and blocks.
Convolutions begin as normal(√(2 / fan-out)), the last norm of a block as zero, the classifier as
normal(0.01).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.folding import without_norms
from inceptionnext_jax.models.layers.conv_norm import ConvNorm
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.layers.linear import dense
from inceptionnext_jax.models.names import BATCH_NORM, CONV, LINEAR, Rule, Table, numbered_rule
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.reported import Report

# Makes a module from its settings, among them `conv`, the network's `ConvNorm`.
Factory = Callable[..., nn.Module]


class ResNet(ResidualNetwork):
    """A stem, four stages of residual blocks of which the first may stride, a linear classifier.

    Attributes:
      stage_dims: Channels per stage.
      stem_factory: Factory of the stem, given `conv`.
      block_factory: Factory of a block, given `dim`, `stride` and `conv`.
      first_stride: Stride of the first stage; that of the others is 2.
      norm: A name in `NORMS`.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      is_deployed: Whether BatchNorms are folded into the convolutions before them, as after
        `deployed`; such a network cannot be trained.
    """

    stage_dims: Sequence[int]
    stem_factory: Factory
    block_factory: Factory
    first_stride: int = 1
    norm: str = "batch"
    bn_group_size: int = 0
    is_deployed: bool = False

    def setup(self) -> None:
        conv = functools.partial(
            ConvNorm,
            norm=self.norm,
            bn_group_size=self.bn_group_size,
            folded=self.is_deployed,
            dtype=self.dtype,
        )
        self.stem = self.stem_factory(conv=conv)
        strides = (self.first_stride, 2, 2, 2)
        self.stages = self.make_stages(
            [
                [
                    functools.partial(
                        self.block_factory, dim=dim, stride=1 if j else stride, conv=conv
                    )
                    for j in range(depth)
                ]
                for depth, dim, stride in zip(
                    self.stage_depths, self.stage_dims, strides, strict=True
                )
            ]
        )
        self.classifier = PlainHead(
            self.num_classes,
            self.dropout_rate,
            drop_index=sum(self.stage_depths),
            init_scale=0.5,
            dtype=self.dtype,
            name="head",
        )

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["ResNet", dict[str, Any]]:
        """Returns the network without BatchNorms and its variables: exact in inference.

        Args:
          variables: "params" and, with BatchNorm, "batch_stats".

        Raises:
          UserError: The running statistics are missing.
        """
        if self.is_deployed or self.norm != "batch":  # a LayerNorm cannot be folded
            return self.clone(is_deployed=True), dict(variables)
        return self.clone(is_deployed=True), without_norms(variables)


class Stem(nn.Module):
    """A convolution with stride 2, norm, ReLU, and optionally a 3×3 maximum with stride 2."""

    dim: int
    size: int
    max_pool: bool
    conv: Factory

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, ⌈H / s⌉, ⌈W / s⌉, dim], s = 4 with the maximum, else 2."""
        x = self.conv(self.dim, self.size, 2, act=nn.relu, name="conv")(x, train)
        return _max_pool(x) if self.max_pool else x


def _max_pool(x: jax.Array) -> jax.Array:
    """3×3 with stride 2. Padded separately for jax2onnx; XLA fuses both."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    return nn.max_pool(padded, window_shape=(3, 3), strides=(2, 2))


class Bottleneck(nn.Module):
    """ReLU(shortcut + 1×1(SE(3×3(1×1(x))))), each convolution with its norm.

    The shortcut is a strided 1×1 convolution where shapes change.

    Attributes:
      dim: Channels of the output.
      stride: Stride of the 3×3 convolution and the shortcut.
      conv: Factory of convolutions with norms.
      ratio: `dim` over the channels between the 1×1 convolutions.
      groups: Groups of the 3×3 convolution; a `group_width` replaces them.
      group_width: Channels per group of the 3×3 convolution.
      se_ratio: Hidden channels of squeeze and excitation over the block's input; 0 for none.
    """

    dim: int
    stride: int
    conv: Factory
    ratio: int = 4
    groups: int = 1
    group_width: int | None = None
    se_ratio: float = 0.0

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
        C, width = x.shape[-1], self.dim // self.ratio
        groups = width // self.group_width if self.group_width else self.groups
        y = self.conv(width, act=nn.relu, name="conv1")(x, train)
        y = self.conv(width, 3, self.stride, groups, act=nn.relu, name="conv2")(y, train)
        if self.se_ratio:
            y = SqueezeExcite(round(self.se_ratio * C), dtype=y.dtype, name="se")(y)
        y = self.conv(self.dim, zero_init=True, name="conv3")(y, train)
        if noise is not None:
            y = drop_path(y, noise, block_index, rate)
        if self.stride > 1 or self.dim != C:
            x = self.conv(self.dim, stride=self.stride, name="downsample")(x, train)
        return nn.relu(x + y)


class SqueezeExcite(nn.Module):
    """Scales channels by the sigmoid of two linear layers applied to their means over the map."""

    hidden: int
    act: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scales x: [B, H, W, C]."""
        gate = x.mean((1, 2), keepdims=True, dtype=jnp.promote_types(jnp.float32, self.dtype))
        gate = self.act(dense(self.hidden, self.dtype, "fc1")(gate))
        return x * nn.sigmoid(dense(x.shape[-1], self.dtype, "fc2")(gate))


RESNET: dict[str, Any] = {
    "stage_dims": (256, 512, 1024, 2048),
    "stem_factory": functools.partial(Stem, 64, 7, True),
    "block_factory": Bottleneck,
}


def resnet_names(*stem: Rule) -> Table:
    """Returns timm's and torchvision's names, with those of the stem."""
    block = "layer{stage}.{block}"
    return (
        *stem,
        numbered_rule(r"conv(\d)/conv", block + ".conv{}", CONV),
        numbered_rule(r"conv(\d)/norm", block + ".bn{}", BATCH_NORM),
        numbered_rule(r"downsample/conv", block + ".downsample.0", CONV),
        numbered_rule(r"downsample/norm", block + ".downsample.1", BATCH_NORM),
        Rule(r"head/fc", r"fc", LINEAR),
    )


_STEM_NAMES = (
    Rule(r"stem/conv/conv", r"conv1", CONV),
    Rule(r"stem/conv/norm", r"bn1", BATCH_NORM),
)
_V1C = "ResNetV1c or ResNetV1d, whose stem has three convolutions"
FAMILY = Family((resnet_names(*_STEM_NAMES),), others={"stem.0.weight": _V1C})


_REPORTED = "reported by the paper of InceptionNeXt"


def _register(
    name: str,
    depths: tuple[int, ...],
    *,
    top1: float | None = None,
    others: tuple[Report, ...] = (),
    weights: str = "a1_in1k",
    crop_pct: float = 0.95,
    block: Factory = Bottleneck,
) -> None:
    info = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=FAMILY,
        crop_pct=crop_pct,
        top1=top1,
        top1_source=f"{_REPORTED} (RSB)" if top1 else "",
        other_reports=others,
        hub_id=f"timm/{name}.{weights}" if weights else "",
        licence="apache-2.0",
    )
    register_model(info, functools.partial(ResNet, **{**RESNET, "block_factory": block}))


_register(
    "resnet50",
    (3, 4, 6, 3),
    top1=0.798,
    others=(Report(0.784, _REPORTED, 'its row "ResNet-50", beside "RSB-ResNet-50"'),),
)
_register("resnet101", (3, 4, 23, 3), top1=0.813)
_register("resnet152", (3, 8, 36, 3), top1=0.818)
# timm has no weights of it.
_register("resnet200", (3, 24, 36, 3), weights="")
# Widths of 4 channels for each group of the first stage.
_register(
    "resnext101_32x4d",
    (3, 4, 23, 3),
    weights="gluon_in1k",
    crop_pct=0.875,
    block=functools.partial(Bottleneck, ratio=2, groups=32),
)
_register(
    "resnext101_64x4d",
    (3, 4, 23, 3),
    weights="c1_in1k",
    block=functools.partial(Bottleneck, ratio=1, groups=64),
)
