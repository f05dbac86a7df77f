"""BiT-M R101x3 and R152x4 (Big Transfer, ECCV 2020), as in timm.

ResNets of version 2, three and four times as wide: norms and ReLU come before the convolutions,
whose kernels are standardised; norms are over 32 groups of channels. Convolutions begin as
normal(√(2 / fan-in)), the classifier as normal(0.01).
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.models.layers.norm import GroupNorm
from inceptionnext_jax.models.names import CONV, LAYER_NORM, POINTWISE, Rule, block_rule
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model

_EPSILON = 1e-8  # of the kernels' variances


class BiT(ResidualNetwork):
    """A 7×7 convolution, a 3×3 maximum, four stages of bottlenecks, norm, a linear classifier.

    Attributes:
      stage_dims: Channels per stage.
      is_deployed: Whether kernels are kept standardised, as after `deployed`.
    """

    stage_dims: Sequence[int]
    is_deployed: bool = False

    def setup(self) -> None:
        conv = functools.partial(
            StandardisedConv, is_standardised=self.is_deployed, dtype=self.dtype
        )
        self.stem = Stem(self.stage_dims[0] // 4, conv)
        stages = zip(self.stage_depths, self.stage_dims, (1, 2, 2, 2), strict=True)
        self.stages = self.make_stages(
            [
                [
                    functools.partial(Bottleneck, dim, 1 if j else stride, not j, conv)
                    for j in range(depth)
                ]
                for depth, dim, stride in stages
            ]
        )
        self.classifier = PlainHead(
            self.num_classes,
            self.dropout_rate,
            drop_index=sum(self.stage_depths),
            init_scale=0.5,
            norm=NormedReLU,
            dtype=self.dtype,
            name="head",
        )

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["BiT", dict[str, Any]]:
        """Returns the network whose kernels are kept standardised, and its variables."""
        if self.is_deployed:
            return self, dict(variables)
        params = _with_standardised_kernels(variables["params"])
        return self.clone(is_deployed=True), {**variables, "params": params}


class Stem(nn.Module):
    """A 7×7 convolution and a 3×3 maximum with padding by zeros, both with stride 2."""

    dim: int
    conv: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, ⌈H / 4⌉, ⌈W / 4⌉, dim]."""
        x = self.conv(self.dim, 7, 2, name="conv")(x)
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2))


class NormedReLU(GroupNorm):
    """ReLU(GroupNorm(x))."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape."""
        return nn.relu(super().__call__(x, train))


class Bottleneck(nn.Module):
    """shortcut + 1×1(3×3(1×1(x))), norm and ReLU before each convolution.

    Attributes:
      dim: Channels of the output; between the 1×1 convolutions there are a quarter as many.
      stride: Stride of the 3×3 convolution and the shortcut.
      projects: Whether the shortcut is a 1×1 convolution after the first norm, and not x.
      conv: Factory of convolutions.
    """

    dim: int
    stride: int
    projects: bool
    conv: Any

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
        norm, width = functools.partial(NormedReLU, dtype=x.dtype), self.dim // 4
        y = norm(name="norm1")(x)
        if self.projects:
            x = self.conv(self.dim, 1, self.stride, name="downsample")(y)
        y = norm(name="norm2")(self.conv(width, 1, 1, name="conv1")(y))
        y = norm(name="norm3")(self.conv(width, 3, self.stride, name="conv2")(y))
        y = self.conv(self.dim, 1, 1, name="conv3")(y)
        if noise is not None:
            y = drop_path(y, noise, block_index, rate)
        return x + y


class StandardisedConv(nn.Module):
    """A convolution by the kernel minus its mean over its deviation, for each output, no bias.

    Parameters: `kernel` [size, size, C, features].

    Attributes:
      features: Channels of the output.
      size: Height and width of the kernel.
      stride: Stride; the padding is (size - 1) // 2 on all sides.
      is_standardised: Whether the parameters are standardised already.
      dtype: Compute type.
    """

    features: int
    size: int
    stride: int
    is_standardised: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / stride⌉, ⌈W / stride⌉, features]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        normal = nn.initializers.normal(math.sqrt(2 / math.prod(shape[:3])))
        kernel = self.param("kernel", normal, shape, param_dtype(self.dtype))
        if not self.is_standardised:
            centred = kernel - kernel.mean((0, 1, 2))
            kernel = centred * lax.rsqrt(jnp.square(centred).mean((0, 1, 2)) + _EPSILON)
        return lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride, self.stride),
            [((self.size - 1) // 2,) * 2] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def _with_standardised_kernels(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters with every kernel of four axes standardised, in float64 on the host."""

    def standardised(leaf: Any) -> Any:
        if leaf.ndim != 4:
            return leaf
        wide = np.asarray(leaf, np.float64)
        centred = wide - wide.mean((0, 1, 2))
        return (centred / np.sqrt(wide.var((0, 1, 2)) + _EPSILON)).astype(leaf.dtype)

    return dict(jax.tree.map(standardised, params))


_NAMES = (
    Rule(r"stem/conv", r"stem.conv", CONV),
    block_rule(r"/(conv\d)", r".\3", CONV),
    block_rule(r"/(norm\d)", r".\3", LAYER_NORM),
    block_rule(r"/downsample", r".downsample.conv", CONV),
    Rule(r"head/norm", r"norm", LAYER_NORM),
    Rule(r"head/fc", r"head.fc", POINTWISE),
)
_FAMILY = Family((_NAMES,))


def _register(
    name: str, depths: tuple[int, ...], factor: int, size: int, weights: str, top1: float
) -> None:
    info = ModelInfo(
        name=name,
        input_size=size,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        crop_pct=1.0,
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        top1=top1,
        top1_source="reported by the paper of ConvNeXt (ImageNet-22K first)",
        hub_id=f"timm/{weights}.goog_in21k_ft_in1k",
        licence="apache-2.0",
    )
    settings: dict[str, Any] = {"stage_dims": tuple(factor * dim for dim in (256, 512, 1024, 2048))}
    register_model(info, functools.partial(BiT, **settings))


# timm evaluates the first at 448 pixels.
_register("bit_r101x3_384", (3, 4, 23, 3), 3, 384, "resnetv2_101x3_bit", top1=0.844)
_register("bit_r152x4_480", (3, 8, 36, 3), 4, 480, "resnetv2_152x4_bit", top1=0.854)
