"""TNT-S (Transformer in Transformer, NeurIPS 2021), as in timm's first version of it.

Each patch of 16×16 pixels is also 4×4 "pixels", which attend to each other; in every block these
are then added to their patch by a linear layer. The class token alone is classified.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.conv import strided_conv
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.metanext import Mlp
from inceptionnext_jax.models.names import CONV, LAYER_NORM, LINEAR, Leaf, Rule
from inceptionnext_jax.models.registry import ModelInfo, register_model
from inceptionnext_jax.models.vit import VisionTransformer, resized_positions, with_class_token

_NORM = functools.partial(LayerNorm, epsilon=1e-5)
_SIDE = 4  # "pixels" per row and column of a patch, of 4×4 pixels each
_HEADS, _HEADS_WITHIN = 6, 4
_DROPS = 4  # masks of a block

Mixer = Callable[[jax.Array], jax.Array]
Streams = tuple[jax.Array, jax.Array]  # [B, patches, 16, inner_dim] and [B, 1 + patches, 1, dim]


class TransformerInTransformer(VisionTransformer):
    """Two streams of tokens, blocks that mix both, LayerNorm, a linear classifier.

    Attributes:
      inner_dim: Channels of "pixels".
    """

    inner_dim: int = 24

    def setup(self) -> None:
        self.stem = Stem(self.dim, self.inner_dim, self.grid, self.dtype)
        block = functools.partial(Block, self.dtype)
        self.stages = self.make_stages([[block] * depth for depth in self.stage_depths])
        self.classifier = self.class_token_head(_NORM, _DROPS * sum(self.stage_depths))

    def _stage_outputs(
        self, x: jax.Array, train: bool, noise: DropNoise | None
    ) -> tuple[jax.Array, ...]:
        streams: Any = super()._stage_outputs(x, train, noise)
        return tuple(patches for _, patches in streams)

    @staticmethod
    def explained_layer(paths: Sequence[str]) -> str:
        """Returns the norm before the last attention of patches, as in ViT."""
        return [path for path in paths if path.endswith("/norm_out")][-1]


class Stem(nn.Module):
    """ "Pixels" by a strided convolution, and patches made of them, both with position embeddings.

    Parameters: `conv`, `norm1`, `proj`, `norm2`, `cls_token` [1, 1, dim], `patch_pos`
    [1, 1 + grid², dim] and `pixel_pos` [1, 4, 4, inner_dim].
    """

    dim: int
    inner_dim: int
    grid: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> Streams:
        """Maps x: [B, H, W, 3] to both streams."""
        wide, normal, k, C = param_dtype(self.dtype), nn.initializers.normal(0.02), _SIDE, self.dim
        x = strided_conv(self.inner_dim, 7, 4, self.dtype, "conv")(x)
        B, h, w = x.shape[0], x.shape[1] // k, x.shape[2] // k
        x = x.reshape(B, h, k, w, k, self.inner_dim).transpose(0, 1, 3, 2, 4, 5)
        inner_table = self.param("pixel_pos", normal, (1, k, k, self.inner_dim), wide)
        x = (x + inner_table.astype(self.dtype)).reshape(B, h * w, k * k, self.inner_dim)

        y = _NORM(dtype=self.dtype, name="norm1")(x.reshape(B, h * w, -1))
        y = _NORM(dtype=self.dtype, name="norm2")(dense(C, self.dtype, "proj")(y))
        token = self.param("cls_token", normal, (1, 1, C), wide)
        table = self.param("patch_pos", normal, (1, 1 + self.grid**2, C), wide)
        return x, with_class_token(y, token, resized_positions(table, self.grid, (h, w)))


class Block(nn.Module):
    """Attention and MLP within each patch, their sum to the patch, attention and MLP of patches.

    Drop path drops a residual branch of all patches of an image; the authors' code drops those
    within patches for each patch by itself.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        streams: Streams,
        noise: DropNoise | None,
        rate: float | jax.Array,
        block_index: int,
        train: bool = False,
    ) -> Streams:
        """Maps both streams to the same shapes; arguments are those of `metanext.Block`."""
        pixels, patches = streams
        B, N, C = pixels.shape[0], pixels.shape[1], patches.shape[-1]
        norm = functools.partial(_NORM, dtype=self.dtype)

        def residual(x: jax.Array, layer: Mixer, norm_name: str, index: int) -> jax.Array:
            y = layer(norm(name=norm_name)(x))
            return x + (y if noise is None else drop_path(y, noise, index, rate))

        first = _DROPS * block_index
        within = Attention(_HEADS_WITHIN, self.dtype, name="attn_in")
        pixels = residual(pixels, within, "norm_in", first)
        within_mlp = Mlp(4 * pixels.shape[-1], self.dtype, name="mlp_in")
        pixels = residual(pixels, within_mlp, "norm_mlp_in", first + 1)

        y = norm(name="norm1_proj")(pixels).reshape(B, N, -1)
        y = dense(C, self.dtype, "proj")(y)[:, :, None]
        patches = jnp.concatenate([patches[:, :1], patches[:, 1:] + y], axis=1)
        outer = Attention(_HEADS, self.dtype, name="attn_out")
        patches = residual(patches, lambda x: outer(x[:, :, 0])[:, :, None], "norm_out", first + 2)
        outer_mlp = Mlp(4 * C, self.dtype, name="mlp")
        return pixels, residual(patches, outer_mlp, "norm_mlp", first + 3)


class Attention(nn.Module):
    """Multi-head self-attention over the last axis but one; queries, keys, values have no bias."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [..., N, C]."""
        *outer, N, C = x.shape
        split = (*outer, N, -1, self.heads, C // self.heads)
        queries_keys = dense(2 * C, self.dtype, "qk", use_bias=False)(x).reshape(split)
        query, key = jnp.moveaxis(queries_keys, -3, 0)
        value = dense(C, self.dtype, "v", use_bias=False)(x).reshape(split)[..., 0, :, :]
        scale = (C // self.heads) ** -0.5
        scores = jnp.einsum("...qhd,...khd->...hqk", query * scale, key)
        weights = nn.softmax(scores.astype(param_dtype(self.dtype))).astype(self.dtype)
        x = jnp.einsum("...hqk,...khd->...qhd", weights, value).reshape(*outer, N, C)
        return dense(C, self.dtype, "proj")(x)


def _channels_last(a: np.ndarray) -> np.ndarray:
    return a.transpose(0, 2, 3, 1)


def _channels_first(a: np.ndarray) -> np.ndarray:
    return a.transpose(0, 3, 1, 2)


_BLOCK, _THEIRS = r"stages_0/blocks_(\d+)", r"blocks.\1"
_POSITIONS = {
    "cls_token": Leaf("cls_token"),
    "patch_pos": Leaf("patch_pos"),
    "pixel_pos": Leaf("pixel_pos", _channels_last, _channels_first),
}
_NAMES = (
    Rule(r"stem", r"", _POSITIONS),
    Rule(r"stem/conv", r"pixel_embed.proj", CONV),
    Rule(r"stem/(norm\d)", r"\1_proj", LAYER_NORM),
    Rule(r"stem/proj", r"proj", LINEAR),
    Rule(rf"{_BLOCK}/(norm\w+)", rf"{_THEIRS}.\2", LAYER_NORM),
    Rule(rf"{_BLOCK}/(attn_\w+|mlp\w*)/(\w+)", rf"{_THEIRS}.\2.\3", LINEAR),
    Rule(rf"{_BLOCK}/proj", rf"{_THEIRS}.proj", LINEAR),
    Rule(r"head/norm", r"norm", LAYER_NORM),
    Rule(r"head/fc", r"head", LINEAR),
)
register_model(
    ModelInfo(
        name="tnt_small",
        input_size=224,
        stage_depths=(12,),
        family=Family((_NAMES,), layer_ids=with_last_block),
        crop_pct=0.9,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        top1=0.815,
        top1_source="reported by the paper of InceptionNeXt",
        hub_id="timm/tnt_s_legacy_patch16_224.in1k",
        licence="apache-2.0",
    ),
    functools.partial(TransformerInTransformer, dim=384),
)
