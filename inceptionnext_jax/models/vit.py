"""DeiT-S and -B (ICML 2021), and ViT-B/16 and -L/16 at 384 pixels (ICLR 2021), as in timm.

Tokens are patches of 16×16 pixels and a class token, which alone is classified. DeiT's
distillation token is left out, as in the tables that these networks reproduce.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.conv import patch_conv
from inceptionnext_jax.models.layers.drop import DropNoise
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.layers.linear import param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.layers.token_mixers import Attention
from inceptionnext_jax.models.metaformer import MetaFormerBlock, head_drop_index
from inceptionnext_jax.models.names import LINEAR, Leaf, Rule, transformer_rules
from inceptionnext_jax.models.network import ResidualNetwork
from inceptionnext_jax.models.registry import ModelInfo, register_model
from inceptionnext_jax.models.reported import Report

_PATCH = 16


class ClassTokenNetwork(ResidualNetwork):
    """A network that classifies its class token, which is not part of its feature maps."""

    @nn.nowrap
    def class_token_head(
        self, norm: Callable[..., nn.Module], drop_index: int | None = None
    ) -> nn.Module:
        """Makes the classifier; its dropout follows the two masks of each block by default."""
        if drop_index is None:
            drop_index = head_drop_index(tuple(self.stage_depths))
        return ClassTokenHead(
            self.num_classes,
            self.dropout_rate,
            drop_index,
            norm=norm,
            dtype=self.dtype,
            name="head",
        )

    @staticmethod
    def explained_layer(paths: Sequence[str]) -> str:
        """Returns the norm before the last attention, where the class token last sees the patches.

        The classifier sees the class token alone, which is not part of the map.
        """
        return [path for path in paths if path.endswith("/norm1")][-1]

    def classify(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Raises UserError: the classifier needs the class token, which is not part of the map."""
        raise UserError(
            "a vision transformer classifies its class token, which is not part of its feature "
            "map; call the model on images instead"
        )


class VisionTransformer(ClassTokenNetwork):
    """Patches with position embeddings, blocks of attention, LayerNorm, a linear classifier.

    Position embeddings are resized for images of another size than the native one.

    Attributes:
      dim: Channels; heads have 64 each.
      grid: Patches per row and column of the native image.
    """

    dim: int
    grid: int = 14

    image_multiple: ClassVar[int] = _PATCH

    @property
    def smallest_image(self) -> int:
        return _PATCH

    def setup(self) -> None:
        norm = functools.partial(LayerNorm, epsilon=1e-6)
        self.stem: nn.Module = Tokens(self.dim, self.grid, self.dtype)
        block = functools.partial(MetaFormerBlock, mixer=Attention, norm=norm, dtype=self.dtype)
        self.stages = self.make_stages([[block] * depth for depth in self.stage_depths])
        self.classifier = self.class_token_head(norm)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the patches' map after the last block, [B, H / 16, W / 16, dim], in a tuple."""
        B, H, W, _ = x.shape
        (tokens,) = super().features(x, train, positions)
        return (tokens[:, 1:].reshape(B, H // _PATCH, W // _PATCH, self.dim),)


class Tokens(nn.Module):
    """Patches and a class token, each plus its position embedding.

    Parameters: `conv`, `cls_token` [1, 1, dim] and `pos_embed` [1, 1 + grid², dim].
    """

    dim: int
    grid: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, 1 + H / 16 · W / 16, 1, dim], the class token first."""
        wide, C = param_dtype(self.dtype), self.dim
        x = patch_conv(C, _PATCH, self.dtype, "conv")(x)
        B, h, w, _ = x.shape
        token = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, C), wide)
        normal = nn.initializers.normal(0.02)
        table = self.param("pos_embed", normal, (1, 1 + self.grid**2, C), wide)
        return with_class_token(
            x.reshape(B, h * w, C), token, resized_positions(table, self.grid, (h, w))
        )


def with_class_token(x: jax.Array, token: jax.Array, table: jax.Array) -> jax.Array:
    """Puts a class token before others and adds position embeddings, in the type of the tokens.

    Args:
      x: [B, N, C].
      token: [1, 1, C].
      table: [1, 1 + N, C].

    Returns:
      [B, 1 + N, 1, C].
    """
    first = jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])).astype(x.dtype)
    return (jnp.concatenate([first, x], axis=1) + table.astype(x.dtype))[:, :, None]


def resized_positions(table: jax.Array, grid: int, size: tuple[int, int]) -> jax.Array:
    """Resizes position embeddings as timm does: bicubic, antialiased.

    Args:
      table: [1, 1 + grid², C], that of the class token first.
      grid: Rows and columns of the native map.
      size: Rows and columns of the result's.
    """
    if size == (grid, grid):
        return table
    C = table.shape[-1]
    native = table[:, 1:].reshape(1, grid, grid, C)
    resized = jax.image.resize(native, (1, *size, C), "cubic").reshape(1, -1, C)
    return jnp.concatenate([table[:, :1], resized], axis=1)


class ClassTokenHead(PlainHead):
    """Classifies the first token: norm, dropout, linear layer. Attributes as in `PlainHead`."""

    def __call__(self, x: jax.Array, noise: DropNoise | None = None) -> jax.Array:
        """Maps x: [B, tokens, 1, dim] to logits [B, num_classes]."""
        return super().__call__(x[:, :1], noise)


_NAMES = (
    *transformer_rules(r"blocks.\2"),
    Rule(r"stem", r"", {name: Leaf(name) for name in ("cls_token", "pos_embed")}),
    Rule(r"head/fc", r"head", LINEAR),
)
_FAMILY = Family((_NAMES,), layer_ids=with_last_block)


def _register(name: str, dim: int, grid: int, depth: int = 12, **info: Any) -> None:
    about = ModelInfo(
        name=name,
        input_size=_PATCH * grid,
        stage_depths=(depth,),
        family=_FAMILY,
        licence="apache-2.0",
        **info,
    )
    register_model(about, functools.partial(VisionTransformer, dim=dim, grid=grid))


_TABLE = "reported by the paper of InceptionNeXt"
_HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_register(
    "deit_small",
    384,
    14,
    crop_pct=0.9,
    top1=0.798,
    top1_source=_TABLE,
    hub_id="timm/deit_small_patch16_224.fb_in1k",
)
_register(
    "deit_base",
    768,
    14,
    crop_pct=0.9,
    top1=0.818,
    top1_source=_TABLE,
    hub_id="timm/deit_base_patch16_224.fb_in1k",
)
_register(
    "deit_base_384",
    768,
    24,
    crop_pct=1.0,
    top1=0.831,
    top1_source=_TABLE,
    hub_id="timm/deit_base_patch16_384.fb_in1k",
)
_register(
    "vit_base_384",
    768,
    24,
    crop_pct=1.0,
    **_HALF,
    top1=0.779,
    top1_source=_TABLE,
    other_reports=(
        Report(
            0.840,
            "reported by the paper of ConvNeXt",
            "ImageNet-21K first: timm/vit_base_patch16_384.orig_in21k_ft_in1k",
        ),
    ),
    hub_id="timm/vit_base_patch16_384.augreg_in1k",
)
_register(
    "vit_large_384",
    1024,
    24,
    depth=24,
    crop_pct=1.0,
    **_HALF,
    top1=0.852,
    top1_source="reported by the paper of ConvNeXt (ImageNet-22K first)",
    hub_id="timm/vit_large_patch16_384.augreg_in21k_ft_in1k",
)
