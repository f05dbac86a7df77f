"""FocalNet-T, -S and -B with the large receptive field (NeurIPS 2022), as in timm.

Focal modulation mixes the tokens: depthwise convolutions of growing size, each after the one
before, and the mean over the map are weighted by gates and multiply a query.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.metaformer import MetaFormerBlock, head_drop_index
from inceptionnext_jax.models.metanext import Stem
from inceptionnext_jax.models.names import CONV, LAYER_NORM, LINEAR, POINTWISE, Rule
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.ops.depthwise import depthwise_conv
from inceptionnext_jax.ops.gelu import gelu

_NORM = functools.partial(LayerNorm, epsilon=1e-5)


class FocalNet(ResidualNetwork):
    """Patches of 4 pixels, four stages of focal modulation, LayerNorm, a linear classifier.

    Attributes:
      stage_dims: Channels per stage.
      depthwise_impl: The depthwise implementation.
    """

    stage_dims: Sequence[int]
    depthwise_impl: str = "auto"

    def setup(self) -> None:
        norm = functools.partial(_NORM, dtype=self.dtype)
        patches = functools.partial(Stem, norm=norm, dtype=self.dtype)
        self.stem = patches(self.stage_dims[0], 4)
        block = functools.partial(
            MetaFormerBlock,
            mixer=functools.partial(FocalModulation, impl=self.depthwise_impl),
            norm=_NORM,
            mixer_name="modulation",
            dtype=self.dtype,
        )
        downsamples: list[Callable[..., nn.Module] | None] = [
            functools.partial(patches, dim, 2) for dim in self.stage_dims
        ]
        self.stages = self.make_stages(
            [[block] * depth for depth in self.stage_depths], [None, *downsamples[1:]]
        )
        self.classifier = PlainHead(
            self.num_classes,
            self.dropout_rate,
            head_drop_index(tuple(self.stage_depths)),
            norm=_NORM,
            dtype=self.dtype,
            name="head",
        )


class FocalModulation(nn.Module):
    """A query times a linear map of its context, then a linear layer (section 3.2 of the paper).

    The context is a sum over levels of depthwise convolutions, each of the level before, and of the
    mean over the map, all weighted by gates of each position.

    Attributes:
      kernel_sizes: Size of the depthwise convolution of each level.
      impl: The depthwise implementation.
      dtype: Compute type; the mean over the map is at least float32.
    """

    kernel_sizes: Sequence[int] = (3, 5, 7)
    impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C] over H and W."""
        C, levels, wide = x.shape[-1], len(self.kernel_sizes), param_dtype(self.dtype)
        x = dense(2 * C + levels + 1, self.dtype, "f")(x)
        query, level, gates = jnp.split(x, [C, 2 * C], axis=-1)
        context = jnp.zeros_like(query)
        for i, size in enumerate(self.kernel_sizes):
            shape, normal = (size, size, 1, C), nn.initializers.normal(0.02)
            kernel = self.param(f"level_{i}", normal, shape, wide).astype(self.dtype)
            level = gelu(depthwise_conv(level, kernel, impl=self.impl))
            context += level * gates[..., i : i + 1]
        mean = gelu(level.astype(wide).mean((1, 2), keepdims=True)).astype(self.dtype)
        context += mean * gates[..., levels:]
        return dense(C, self.dtype, "proj")(query * dense(C, self.dtype, "h")(context))


_BLOCK = r"stages_(\d+)/blocks_(\d+)"
_LEVELS = {
    f"level_{i}": CONV["kernel"]._replace(name=f"focal_layers.{i}.0.weight") for i in range(3)
}
_NAMES = (
    Rule(r"stem/conv", r"stem.proj", CONV),
    Rule(r"stem/norm", r"stem.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/conv", r"layers.\1.downsample.proj", CONV),
    Rule(r"stages_(\d+)/downsample/norm", r"layers.\1.downsample.norm", LAYER_NORM),
    Rule(rf"{_BLOCK}/(norm\d)", r"layers.\1.blocks.\2.\3", LAYER_NORM),
    Rule(rf"{_BLOCK}/modulation", r"layers.\1.blocks.\2.modulation", _LEVELS),
    Rule(rf"{_BLOCK}/(modulation|mlp)/(\w+)", r"layers.\1.blocks.\2.\3.\4", POINTWISE),
    Rule(r"head/norm", r"norm", LAYER_NORM),
    Rule(r"head/fc", r"head.fc", LINEAR),
)
_FAMILY = Family((_NAMES,), layer_ids=with_last_block, output_norm=_NORM)


def _register(name: str, depths: tuple[int, ...], dim: int, top1: float) -> None:
    info = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        crop_pct=0.9,
        top1=top1,
        top1_source="reported by the paper of InceptionNeXt",
        hub_id=f"timm/{name}_lrf.ms_in1k",
        licence="mit",
    )
    settings: dict[str, Any] = {"stage_dims": (dim, 2 * dim, 4 * dim, 8 * dim)}
    register_model(info, functools.partial(FocalNet, **settings))


_register("focalnet_tiny", (2, 2, 6, 2), 96, top1=0.823)
_register("focalnet_small", (2, 2, 18, 2), 96, top1=0.835)
_register("focalnet_base", (2, 2, 18, 2), 128, top1=0.839)
