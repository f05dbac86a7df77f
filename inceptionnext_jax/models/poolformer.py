"""PoolFormer (MetaFormer, CVPR 2022), as in timm: a mean over 3×3 positions mixes the tokens.

Norms are over all positions and channels of an image (group normalisation with one group). There
are none after the overlapping patches of stem and downsamplings.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.folding import fold_after
from inceptionnext_jax.models.layers.conv import strided_conv
from inceptionnext_jax.models.layers.heads import LinearHead
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.layers.token_mixers import Pool
from inceptionnext_jax.models.metaformer import MetaFormerBlock, head_drop_index
from inceptionnext_jax.models.names import (
    CONV,
    LAYER_NORM,
    LINEAR,
    POINTWISE,
    Leaf,
    Rule,
    backbone_rules,
    block_rule,
)
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model

GROUP_NORM = functools.partial(LayerNorm, epsilon=1e-5, axes=(-3, -2, -1))


class PoolFormer(ResidualNetwork):
    """Four stages of pooling blocks, LayerNorm and a linear classifier on the mean.

    Attributes:
      stage_dims: Channels per stage.
      layer_scale_init: Initial value of both branches' scales; 0 for none.
    """

    stage_dims: Sequence[int]
    layer_scale_init: float = 1e-5

    def setup(self) -> None:
        patches = [functools.partial(Patches, dim, dtype=self.dtype) for dim in self.stage_dims]
        self.stem = patches[0](size=7, stride=4, padding=2)
        block = functools.partial(
            MetaFormerBlock,
            mixer=Pool,
            norm=GROUP_NORM,
            mixer_name="token_mixer",
            layer_scale_init=self.layer_scale_init,
            dtype=self.dtype,
        )
        downsamples: list[Callable[..., nn.Module] | None] = [None, *patches[1:]]
        self.stages = self.make_stages([[block] * d for d in self.stage_depths], downsamples)
        self.classifier = LinearHead(
            self.num_classes,
            self.dropout_rate,
            head_drop_index(tuple(self.stage_depths)),
            dtype=self.dtype,
            name="head",
        )

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["PoolFormer", dict[str, Any]]:
        """Returns the network without layer scale and its variables: exact in inference.

        Pooling is linear and maps a constant to 0, so that its branch's scale can be folded into
        the norm before it.
        """
        if not self.layer_scale_init:
            return self, dict(variables)
        params = dict(variables["params"])
        for stage, blocks in params.items():
            if stage.startswith("stages_"):
                params[stage] = {
                    name: _without_scale(value) if name.startswith("blocks_") else value
                    for name, value in blocks.items()
                }
        return self.clone(layer_scale_init=0.0), {**variables, "params": params}


class Patches(nn.Module):
    """A strided convolution over overlapping patches."""

    dim: int
    size: int = 3
    stride: int = 2
    padding: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / stride⌉, ⌈W / stride⌉, dim]; the stem rounds down."""
        conv = strided_conv(
            self.dim, self.size, self.stride, self.dtype, "conv", padding=self.padding
        )
        return conv(x)


def _without_scale(block: Mapping[str, Any]) -> dict[str, Any]:
    first = np.asarray(block["layer_scale1"]["gamma"])
    second = np.asarray(block["layer_scale2"]["gamma"], np.float64)
    return {
        "norm1": {name: np.asarray(value) * first for name, value in block["norm1"].items()},
        "norm2": block["norm2"],
        "mlp": {**block["mlp"], "fc2": fold_after(block["mlp"]["fc2"], (second, 0.0 * second))},
    }


_NAMES = (
    Rule(r"stem/conv", r"stem.conv", CONV),
    Rule(r"stages_(\d+)/downsample/conv", r"stages.\1.downsample.conv", CONV),
    block_rule(r"/(norm\d)", r".\3", LAYER_NORM),
    block_rule(r"/mlp/(fc\d)", r".mlp.\3", POINTWISE),
    block_rule(r"/(layer_scale\d)", r".\3", {"gamma": Leaf("scale")}),
    Rule(r"head/norm", r"head.norm", LAYER_NORM),
    Rule(r"head/fc", r"head.fc", LINEAR),
)


def _authors(template: str, first: int) -> Callable[[re.Match[str]], str]:
    """The name of a part of stage i, which is number 2 i + first of the authors' list."""

    def theirs(match: re.Match[str]) -> str:
        stage, *rest = match.groups()
        return template.format(*rest, part=2 * int(stage) + first)

    return theirs


_BLOCK = r"stages_(\d+)/blocks_(\d+)"
_SCALE = {"gamma": Leaf("")}
_AUTHORS = (
    Rule(r"stem/conv", r"patch_embed.proj", CONV),
    Rule(r"stages_(\d+)/downsample/conv", _authors("network.{part}.proj", -1), CONV),
    Rule(rf"{_BLOCK}/(norm\d)", _authors("network.{part}.{}.{}", 0), LAYER_NORM),
    Rule(rf"{_BLOCK}/mlp/(fc\d)", _authors("network.{part}.{}.mlp.{}", 0), POINTWISE),
    Rule(rf"{_BLOCK}/(layer_scale)(\d)", _authors("network.{part}.{}.{}_{}", 0), _SCALE),
)
_FAMILY = Family(
    (_NAMES,),
    output_norm=GROUP_NORM,
    backbones={"mmseg": backbone_rules(_AUTHORS, lambda i: f"norm{2 * i}")},
)


def _register(
    name: str,
    depths: tuple[int, ...],
    dims: tuple[int, ...],
    layer_scale_init: float,
    crop_pct: float,
) -> None:
    info = ModelInfo(
        name=name,
        input_size=224,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        crop_pct=crop_pct,
        hub_id=f"timm/{name}.sail_in1k",
        licence="apache-2.0",
    )
    settings: dict[str, Any] = {"stage_dims": dims, "layer_scale_init": layer_scale_init}
    register_model(info, functools.partial(PoolFormer, **settings))


_SMALL, _MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
_register("poolformer_s12", (2, 2, 6, 2), _SMALL, 1e-5, crop_pct=0.9)
_register("poolformer_s24", (4, 4, 12, 4), _SMALL, 1e-5, crop_pct=0.9)
_register("poolformer_s36", (6, 6, 18, 6), _SMALL, 1e-6, crop_pct=0.9)
_register("poolformer_m36", (6, 6, 18, 6), _MEDIUM, 1e-6, crop_pct=0.95)
_register("poolformer_m48", (8, 8, 24, 8), _MEDIUM, 1e-6, crop_pct=0.95)
