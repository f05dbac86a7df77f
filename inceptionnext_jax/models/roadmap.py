"""The roadmap from ResNet-50 to ConvNeXt-T, one network per step (ConvNeXt, section 2).

Each step keeps the changes of the steps before:

 0 ResNet-50; 1 the modern recipe, the same network; 2 stages of 3, 3, 9, 3 blocks; 3 patches of
 4×4 as stem; 4 depthwise 3×3; 5 width 96 instead of 64; 6 inverted bottleneck; 7 depthwise
 convolution first; 8 kernel 7×7; 9 GELU; 10 one activation per block; 11 one norm per block;
 12 LayerNorm; 13 separate downsampling, with norms there, after the stem and before the
 classifier, and layer scale: ConvNeXt-T. With `layer_scale_init=0` it is the paper's step before.

Where the paper is silent, this follows the code of its submission
(github.com/anonymous20222022/convnext): the stem of patches has a bias and neither norm nor
activation; an inverted block has four times as many hidden channels as outputs, in strided blocks
too; only strided blocks have a convolution in the shortcut, with a norm; the activation that
remains is the one between the 1×1 convolutions, the norm that remains follows the depthwise
convolution; convolutions of steps 4 to 11 have no bias, those of step 12 do, except in the
shortcut. LayerNorm's epsilon is ConvNeXt's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn

from inceptionnext_jax.models.convnext import CONVNEXT
from inceptionnext_jax.models.convnext import FAMILY as CONVNEXT_FAMILY
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layers.conv import patch_conv
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.names import CONV, Rule
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.reported import Report
from inceptionnext_jax.models.resnet import FAMILY as RESNET_FAMILY
from inceptionnext_jax.models.resnet import RESNET, Bottleneck, Factory, ResNet, resnet_names
from inceptionnext_jax.ops.gelu import gelu


class InvertedBottleneck(nn.Module):
    """shortcut + three convolutions, one depthwise and two 1×1.

    Attributes:
      dim: Channels of the output; between the 1×1 convolutions there are four times as many.
      stride: Stride of the depthwise convolution and the shortcut.
      conv: Factory of convolutions with norms.
      depthwise_first: Whether the depthwise convolution comes before the 1×1's, else between.
      kernel_size: Size of the depthwise kernel.
      act: The activation.
      acts: Convolutions, from 1, that an activation follows; 3 is after the sum.
      norms: Convolutions, from 1, that a norm follows.
      bias: Whether these convolutions have a bias.
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
        block_index: int,
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
            y = drop_path(y, noise, block_index, rate)
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
# In the code of the paper's submission the stem is a separate module.
_FAMILY = Family((resnet_names(Rule(r"stem/conv", r"stem", CONV)),))
_OLD_DEPTHS, _DEPTHS = (3, 4, 6, 3), (3, 3, 9, 3)
_REPORTED = "reported by the paper of ConvNeXt"


def _register(
    name: str,
    settings: dict[str, Any],
    top1: float,
    depths: tuple[int, ...] = _DEPTHS,
    family: Family = _FAMILY,
    network: Callable[..., nn.Module] = ResNet,
    others: tuple[Report, ...] = (),
) -> None:
    info = ModelInfo(
        name=f"roadmap_{name}",
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=family,
        top1=top1,
        top1_source=_REPORTED,
        other_reports=others,
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
    _register("00_resnet50", RESNET, 0.761, _OLD_DEPTHS, RESNET_FAMILY)
    _register("01_modern_recipe", RESNET, 0.788, _OLD_DEPTHS, RESNET_FAMILY)
    _register("02_stage_ratio", RESNET, 0.794, family=RESNET_FAMILY)
    _register("03_patchify_stem", RESNET | _patches(64), 0.795)
    _register("04_depthwise", RESNET | _patches(64) | depthwise, 0.783)
    _register("05_width_96", wide | depthwise, 0.805)
    _register("06_inverted_bottleneck", _inverted(), 0.806)
    block: dict[str, Any] = {"depthwise_first": True}
    _register("07_depthwise_first", _inverted(**block), 0.799)
    block |= {"kernel_size": 7}
    _register("08_kernel_7", _inverted(**block), 0.806)
    block |= {"act": gelu}
    _register("09_gelu", _inverted(**block), 0.806)
    block |= {"acts": (2,)}
    _register("10_fewer_activations", _inverted(**block), 0.813)
    block |= {"norms": (1,)}
    _register("11_fewer_norms", _inverted(**block), 0.814)
    with_layer_norm = {**_inverted(**block, bias=True), "norm": "layer"}
    _register("12_layer_norm", with_layer_norm, 0.815)
    last = {**CONVNEXT, "stage_dims": _DIMS}
    plain = Report(0.820, _REPORTED, "without layer scale and averaged weights")
    _register("13_convnext_tiny", last, 0.821, _DEPTHS, CONVNEXT_FAMILY, MetaNeXt, (plain,))


_register_all()
