"""The roadmap from ResNet-50 to ConvNeXt-T, one network a step (ConvNeXt, section 2).

Each step keeps the changes of those before:

 0 ResNet-50; 1 the modern recipe, the same network; 2 stages of 3, 3, 9, 3 blocks; 3 patches of
 4×4 as stem; 4 depthwise 3×3; 5 width 96 instead of 64; 6 inverted bottleneck; 7 depthwise
 convolution first; 8 kernel 7×7; 9 GELU; 10 one activation a block; 11 one norm a block;
 12 LayerNorm; 13 downsampling of its own, with norms there, after the stem and before the
 classifier, and layer scale: ConvNeXt-T. With `layer_scale_init=0` it is the step before that one.

Where the paper is silent, this follows the code of its submission
(github.com/anonymous20222022/convnext): the stem of patches has a bias and neither norm nor
activation; the hidden channels of an inverted block are four times its output's, in strided blocks
too; only strided blocks have a convolution in the shortcut, with a norm; the one activation left is
the one between the 1×1 convolutions, the one norm that after the depthwise convolution;
convolutions of steps 4 to 11 have no bias, those of step 12 do, but for the shortcut's. LayerNorm's
epsilon is ConvNeXt's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn

from inceptionnext_jax.models.convnext import CONVNEXT
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.linear import patch_conv
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import ModelInfo, register_model
from inceptionnext_jax.models.resnet import RESNET, Bottleneck, Factory, ResNet
from inceptionnext_jax.ops.gelu import gelu


class InvertedBottleneck(nn.Module):
    """shortcut + three convolutions, one depthwise and two 1×1, in this order or that.

    Attributes:
      dim: Channels of the output; between the 1×1 convolutions there are four times as many.
      stride: Of the depthwise convolution and the shortcut.
      conv: Makes convolutions with norms.
      depthwise_first: Whether the depthwise convolution comes before the 1×1's, else between.
      kernel_size: Of the depthwise convolution.
      act: The activation.
      acts: After which convolutions it comes; 3 is after the sum.
      norms: After which convolutions there is a norm.
      bias: Whether these convolutions have one.
    """

    dim: int
    stride: int
    conv: Factory
    depthwise_first: bool = False
    kernel_size: int = 3
    act: Callable[[jax.Array], jax.Array] = nn.relu
    acts: Sequence[int] = (1, 2, 3)
    norms: Sequence[int] = (1, 2, 3)
    bias: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        place: int,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / stride⌉, ⌈W / stride⌉, dim], as `metanext.Block`."""
        C, hidden = x.shape[-1], 4 * self.dim
        layers: list[dict[str, Any]]
        depthwise = {"size": self.kernel_size, "stride": self.stride}
        if self.depthwise_first:
            layers = [{"features": C, "groups": C, **depthwise}, {"features": hidden}]
        else:
            layers = [{"features": hidden}, {"features": hidden, "groups": hidden, **depthwise}]
        y = x
        for i, layer in enumerate([*layers, {"features": self.dim}], start=1):
            if i not in self.norms:
                layer["norm"] = None
            y = self.conv(
                **layer,
                bias=self.bias,
                act=self.act if i in self.acts and i < 3 else None,
                name=f"conv{i}",
            )(y, train)
        if noise is not None:
            y = drop_path(y, noise, place, rate)
        if self.stride > 1:
            shortcut = self.conv(self.dim, stride=self.stride, name="downsample")
            x = shortcut(x, train)
        return self.act(x + y) if 3 in self.acts else x + y


class PatchStem(nn.Module):
    """Cuts images into patches of 4×4 pixels."""

    dim: int
    conv: Factory

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, H // 4, W // 4, dim]."""
        return patch_conv(self.dim, 4, x.dtype, "conv")(x)


_DIMS = (96, 192, 384, 768)
_OLD_DEPTHS, _DEPTHS = (3, 4, 6, 3), (3, 3, 9, 3)


def _register(
    name: str,
    params: int,
    macs: int,
    settings: dict[str, Any],
    top1: float,
    depths: tuple[int, ...] = _DEPTHS,
    network: Callable[..., nn.Module] = ResNet,
) -> None:
    info = ModelInfo(
        name=f"roadmap_{name}",
        input_size=224,
        stage_depths=depths,
        params=params,
        macs=macs,
        top1=top1,
        top1_source="reported by the paper of ConvNeXt",
    )
    register_model(info, functools.partial(network, **settings))


def _patches(dim: int) -> dict[str, Any]:
    return {"stem_factory": functools.partial(PatchStem, dim)}


def _inverted(**block: Any) -> dict[str, Any]:
    settings = {"block_factory": functools.partial(InvertedBottleneck, **block)}
    return {"stage_dims": _DIMS, **_patches(96), **settings}


def _register_all() -> None:
    depthwise = {"block_factory": functools.partial(Bottleneck, group_width=1)}
    wide = {"stage_dims": (384, 768, 1536, 3072), **_patches(96)}
    _register("00_resnet50", 25_557_032, 4_089_184_256, RESNET, 0.761, _OLD_DEPTHS)
    _register("01_modern_recipe", 25_557_032, 4_089_184_256, RESNET, 0.788, _OLD_DEPTHS)
    _register("02_stage_ratio", 28_628_520, 4_525_916_160, RESNET, 0.794)
    _register("03_patchify_stem", 28_622_120, 4_417_536_000, RESNET | _patches(64), 0.795)
    _register("04_depthwise", 15_722_600, 2_349_507_072, RESNET | _patches(64) | depthwise, 0.783)
    _register("05_width_96", 33_760_936, 5_267_976_960, wide | depthwise, 0.805)
    _register("06_inverted_bottleneck", 25_851_400, 4_644_406_272, _inverted(), 0.806)
    block: dict[str, Any] = {"depthwise_first": True}
    _register("07_depthwise_first", 25_625_416, 4_065_080_448, _inverted(**block), 0.799)
    block |= {"kernel_size": 7}
    _register("08_kernel_7", 25_863_496, 4_145_612_928, _inverted(**block), 0.806)
    block |= {"act": gelu}
    _register("09_gelu", 25_863_496, 4_145_612_928, _inverted(**block), 0.806)
    block |= {"acts": (2,)}
    _register("10_fewer_activations", 25_863_496, 4_145_612_928, _inverted(**block), 0.813)
    block |= {"norms": (1,)}
    _register("11_fewer_norms", 25_797_256, 4_145_612_928, _inverted(**block), 0.814)
    with_layer_norm = {**_inverted(**block, bias=True), "norm": "layer"}
    _register("12_layer_norm", 25_836_328, 4_145_612_928, with_layer_norm, 0.815)
    last = {**CONVNEXT, "stage_dims": _DIMS}
    _register("13_convnext_tiny", 28_589_128, 4_455_531_264, last, 0.821, network=MetaNeXt)


_register_all()
