"""PVT-Small, -Medium and -Large (Pyramid Vision Transformer, ICCV 2021), as in transformers.

Keys and values of the first three stages are taken from a map that a strided convolution reduces.
A class token joins the last stage and is classified; it stays in backbones of dense systems, where
the authors leave it out. Every stage has position embeddings.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.conv import patch_conv
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.metaformer import MetaFormerBlock
from inceptionnext_jax.models.names import CONV, LAYER_NORM, LINEAR, Leaf, Rule
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.vit import ClassTokenNetwork

_HEAD_DIM = 64
_DIMS = (64, 128, 320, 512)
_RATIOS = (8, 8, 4, 4)  # of the MLPs
_REDUCTIONS = (8, 4, 2, 1)
_NATIVE = 224  # pixels
_NORM = functools.partial(LayerNorm, epsilon=1e-6)


class PyramidVisionTransformer(ClassTokenNetwork):
    """Four stages, each of patches, position embeddings and blocks; LayerNorm; a classifier."""

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Channels per stage."""
        return _DIMS

    def setup(self) -> None:
        patches = functools.partial(Patches, dtype=self.dtype)
        self.stem = patches(_DIMS[0], 4, _NATIVE // 4)
        downsamples: list[Callable[..., nn.Module] | None] = [
            functools.partial(patches, dim, 2, _NATIVE // (4 << i), has_token=i == 3)
            for i, dim in enumerate(_DIMS)
        ]
        blocks = [
            [
                functools.partial(
                    MetaFormerBlock,
                    mixer=functools.partial(ReducedAttention, reduction),
                    norm=_NORM,
                    mlp_ratio=ratio,
                    dtype=self.dtype,
                )
            ]
            * depth
            for depth, ratio, reduction in zip(self.stage_depths, _RATIOS, _REDUCTIONS, strict=True)
        ]
        self.stages = self.make_stages(blocks, [None, *downsamples[1:]])
        self.classifier = self.class_token_head(_NORM)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the output of each stage; that of the last is without the class token."""
        B, H, W, _ = x.shape
        *maps, tokens = super().features(x, train, positions)
        return (*maps, tokens[:, 1:].reshape(B, H // 32, W // 32, _DIMS[-1]))


class Patches(nn.Module):
    """A convolution over patches, which are cut off at the border, norm and position embeddings.

    Parameters: `conv`, `norm`, `pos_embed` [1, grid², dim], and with a class token `cls_token`
    [1, 1, dim] and its position embedding before the others.

    Attributes:
      dim: Channels.
      size: Height and width of a patch.
      grid: Rows and columns of the native map, of whose embeddings those of others are resized.
      has_token: Whether a class token comes first.
      dtype: Compute type.
    """

    dim: int
    size: int
    grid: int
    has_token: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, h, w, dim], with a class token to [B, 1 + h · w, 1, dim]."""
        wide, normal, C = param_dtype(self.dtype), nn.initializers.normal(0.02), self.dim
        x = patch_conv(C, self.size, self.dtype, "conv")(x)
        x = _NORM(dtype=self.dtype, name="norm")(x)
        B, h, w, _ = x.shape
        table = self.param("pos_embed", normal, (1, self.has_token + self.grid**2, C), wide)
        positions = table[:, int(self.has_token) :].reshape(1, self.grid, self.grid, C)
        positions = jax.image.resize(positions, (1, h, w, C), "bilinear", antialias=False)
        x = x + positions.astype(self.dtype)
        if not self.has_token:
            return x
        first = self.param("cls_token", normal, (1, 1, C), wide) + table[:, :1]
        first = jnp.broadcast_to(first, (B, 1, C)).astype(self.dtype)
        return jnp.concatenate([first, x.reshape(B, h * w, C)], axis=1)[:, :, None]


class ReducedAttention(nn.Module):
    """Multi-head attention of all positions to patches of them (section 3.3 of the paper).

    Attributes:
      reduction: Side of the patches; at 1, keys and values are those of the positions.
      dtype: Type of the products; the softmax is at least float32.
    """

    reduction: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C]; heads have 64 channels."""
        B, H, W, C = x.shape
        reduced = x
        if self.reduction > 1:
            reduced = patch_conv(C, self.reduction, self.dtype, "reduction")(x)
            reduced = _NORM(dtype=self.dtype, name="norm")(reduced)

        def heads(tokens: jax.Array, name: str) -> jax.Array:
            return dense(C, self.dtype, name)(tokens).reshape(B, -1, C // _HEAD_DIM, _HEAD_DIM)

        query = heads(x, "query") * _HEAD_DIM**-0.5
        key, value = heads(reduced, "key"), heads(reduced, "value")
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key).astype(param_dtype(self.dtype))
        weights = nn.softmax(scores).astype(self.dtype)
        x = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(B, H, W, C)
        return dense(C, self.dtype, "proj")(x)


_EMBEDDINGS = {"pos_embed": Leaf("position_embeddings"), "cls_token": Leaf("cls_token")}
_BLOCK, _THEIRS = r"stages_(\d+)/blocks_(\d+)", r"pvt.encoder.block.\1.\2"
_ATTENTION = rf"{_THEIRS}.attention"
_PATCHES = "pvt.encoder.patch_embeddings"
_NAMES = (
    Rule(r"stem", rf"{_PATCHES}.0", _EMBEDDINGS),
    Rule(r"stem/conv", rf"{_PATCHES}.0.projection", CONV),
    Rule(r"stem/norm", rf"{_PATCHES}.0.layer_norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample", rf"{_PATCHES}.\1", _EMBEDDINGS),
    Rule(r"stages_(\d+)/downsample/conv", rf"{_PATCHES}.\1.projection", CONV),
    Rule(r"stages_(\d+)/downsample/norm", rf"{_PATCHES}.\1.layer_norm", LAYER_NORM),
    Rule(rf"{_BLOCK}/norm(\d)", rf"{_THEIRS}.layer_norm_\3", LAYER_NORM),
    Rule(rf"{_BLOCK}/attn/(query|key|value)", rf"{_ATTENTION}.self.\3", LINEAR),
    Rule(rf"{_BLOCK}/attn/reduction", rf"{_ATTENTION}.self.sequence_reduction", CONV),
    Rule(rf"{_BLOCK}/attn/norm", rf"{_ATTENTION}.self.layer_norm", LAYER_NORM),
    Rule(rf"{_BLOCK}/attn/proj", rf"{_ATTENTION}.output.dense", LINEAR),
    Rule(rf"{_BLOCK}/mlp/fc(\d)", rf"{_THEIRS}.mlp.dense\3", LINEAR),
    Rule(r"head/norm", r"pvt.encoder.layer_norm", LAYER_NORM),
    Rule(r"head/fc", r"classifier", LINEAR),
)
_FAMILY = Family((_NAMES,), layouts={"huggingface": 0}, layer_ids=with_last_block)


def _register(name: str, depths: tuple[int, ...], top1: float, **info: Any) -> None:
    about = ModelInfo(
        name=f"pvt_{name}",
        input_size=_NATIVE,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        top1=top1,
        hub_id=f"Xrenya/pvt-{name}-224",
        licence="apache-2.0",
        **info,
    )
    register_model(about, PyramidVisionTransformer)


_register("small", (3, 4, 6, 3), 0.798, top1_source="reported by the authors' repository")
_register("medium", (3, 4, 18, 3), 0.812, top1_source="reported by the paper of InceptionNeXt")
_register("large", (3, 8, 27, 3), 0.817, top1_source="reported by the authors' repository")
