"""T2T-ViT-14 and -19 (Tokens-to-Token ViT, ICCV 2021), with Performers between the splits.

Overlapping patches of 7×7, 3×3 and 3×3 positions become tokens one after the other, and Performers
mix these in between, whose attention costs as much as the map has positions: keys and queries are
replaced by exponentials of fixed random projections. A narrow ViT follows. Written from the paper
and checked against a statement in PyTorch with the names of the authors' code.
"""

import functools
import math
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.layers.token_mixers import Attention
from inceptionnext_jax.models.metaformer import MetaFormerBlock
from inceptionnext_jax.models.metanext import Mlp
from inceptionnext_jax.models.names import LAYER_NORM, LINEAR, Leaf, Rule
from inceptionnext_jax.models.registry import ModelInfo, register_model
from inceptionnext_jax.models.vit import VisionTransformer, resized_positions, with_class_token

_NORM = functools.partial(LayerNorm, epsilon=1e-5)
_TOKEN_DIM = 64
_EPSILON = 1e-8  # of the Performers' sums


class T2TViT(VisionTransformer):
    """Tokens made of tokens, blocks of attention, LayerNorm, a linear classifier."""

    def setup(self) -> None:
        self.stem = TokensToTokens(self.dim, self.grid, self.dtype)
        block = functools.partial(
            MetaFormerBlock,
            mixer=functools.partial(Attention, qkv_bias=False),
            norm=_NORM,
            mlp_ratio=3,
            dtype=self.dtype,
        )
        self.stages = self.make_stages([[block] * depth for depth in self.stage_depths])
        self.classifier = self.class_token_head(_NORM)


class TokensToTokens(nn.Module):
    """Three splits into overlapping patches, Performers between them, a class token.

    Parameters: `attention1`, `attention2`, `project` and `cls_token` [1, 1, dim]. `batch_stats`
    hold the position embeddings `pos_embed` [1, 1 + grid², dim], sines and cosines, not trained.
    """

    dim: int
    grid: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, 1 + H / 16 · W / 16, 1, dim], the class token first."""
        performer, wide = functools.partial(Performer, dtype=self.dtype), param_dtype(self.dtype)
        x = performer(name="attention1")(_split(x, 7, 4))
        x = performer(name="attention2")(_split(x, 3, 2))
        x = dense(self.dim, self.dtype, "project")(_split(x, 3, 2))
        B, h, w, C = x.shape
        token = self.param("cls_token", nn.initializers.normal(0.02), (1, 1, C), wide)
        positions = self.variable(
            "batch_stats", "pos_embed", lambda: jnp.asarray(_sinusoids(1 + self.grid**2, C), wide)
        )
        table = resized_positions(positions.value, self.grid, (h, w))
        return with_class_token(x.reshape(B, h * w, C), token, table)


class Performer(nn.Module):
    """Attention by random features over all positions, and an MLP, both with residuals.

    The first residual is that of the values, since channels change. `batch_stats` hold the random
    projection `w` [32, 64], which is not trained.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H, W, 64]."""
        (B, H, W, _), C, wide = x.shape, _TOKEN_DIM, param_dtype(self.dtype)
        count = C // 2
        orthogonal = nn.initializers.orthogonal(math.sqrt(count))
        projection = self.variable(
            "batch_stats", "w", lambda: orthogonal(self.make_rng("params"), (count, C), wide)
        )

        def random_features(x: jax.Array) -> jax.Array:
            x = x.astype(wide)
            half_squares = jnp.square(x).sum(-1, keepdims=True) / 2
            return jnp.exp(x @ projection.value.T - half_squares) / math.sqrt(count)

        x = _NORM(dtype=self.dtype, name="norm1")(x.reshape(B, H * W, -1))
        key, query, value = jnp.split(dense(3 * C, self.dtype, "kqv")(x), 3, axis=-1)
        keys, queries, wide_value = random_features(key), random_features(query), value.astype(wide)
        sums = jnp.einsum("bqm,bm->bq", queries, keys.sum(1))[..., None] + _EPSILON
        y = jnp.einsum("bqm,bmc->bqc", queries, jnp.einsum("bkm,bkc->bmc", keys, wide_value))
        x = value + dense(C, self.dtype, "proj")((y / sums).astype(self.dtype))
        mlp = Mlp(C, self.dtype, name="mlp")
        x = x + mlp(_NORM(dtype=self.dtype, name="norm2")(x))
        return x.reshape(B, H, W, C)


def _split(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Cuts x: [B, H, W, C] into overlapping patches: [B, H / stride, W / stride, C · size²].

    Channels are those of PyTorch's `unfold`: positions within a patch are minor. Slices, as a
    convolution would be counted.
    """
    pad = (size - stride + 1) // 2
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    h, w = ((side - size) // stride + 1 for side in x.shape[1:3])
    slices = [
        x[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.stack(slices, axis=-1).reshape(x.shape[0], h, w, -1)


def _sinusoids(positions: int, dim: int) -> np.ndarray:
    """Returns the Transformer's position embeddings, [1, positions, dim]."""
    rates = 10000 ** (-2 * (np.arange(dim) // 2) / dim)
    angles = np.arange(positions)[:, None] * rates
    return np.where(np.arange(dim) % 2, np.cos(angles), np.sin(angles))[None]


_BLOCK = r"stages_0/blocks_(\d+)"
_TOKENS = "tokens_to_token"
_NAMES = (
    Rule(r"stem", r"", {name: Leaf(name) for name in ("cls_token", "pos_embed")}),
    Rule(r"stem/project", rf"{_TOKENS}.project", LINEAR),
    Rule(r"stem/(attention\d)", rf"{_TOKENS}.\1", {"w": Leaf("w")}),
    Rule(r"stem/(attention\d)/(norm\d)", rf"{_TOKENS}.\1.\2", LAYER_NORM),
    Rule(r"stem/(attention\d)/(kqv|proj)", rf"{_TOKENS}.\1.\2", LINEAR),
    Rule(r"stem/(attention\d)/mlp/fc1", rf"{_TOKENS}.\1.mlp.0", LINEAR),
    Rule(r"stem/(attention\d)/mlp/fc2", rf"{_TOKENS}.\1.mlp.2", LINEAR),
    Rule(rf"{_BLOCK}/(norm\d)", r"blocks.\1.\2", LAYER_NORM),
    Rule(rf"{_BLOCK}/(attn|mlp)/(\w+)", r"blocks.\1.\2.\3", LINEAR),
    Rule(r"head/norm", r"norm", LAYER_NORM),
    Rule(r"head/fc", r"head", LINEAR),
)
_FAMILY = Family((_NAMES,), layer_ids=with_last_block)


def _register(depth: int, dim: int, top1: float) -> None:
    info = ModelInfo(
        name=f"t2t_vit_{depth}",
        input_size=224,
        stage_depths=(depth,),
        family=_FAMILY,
        crop_pct=0.9,
        top1=top1,
        top1_source="reported by the paper of InceptionNeXt",
        licence="bsd-3-clause-clear",
    )
    settings: dict[str, Any] = {"dim": dim}
    register_model(info, functools.partial(T2TViT, **settings))


_register(14, 384, top1=0.815)
_register(19, 448, top1=0.819)
