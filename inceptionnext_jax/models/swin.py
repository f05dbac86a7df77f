"""Swin-T, -S, -B and -L (ICCV 2021), as in timm: windows of 7×7 at 224 pixels, 12×12 at 384.

Every other block shifts its windows by half of that, rounded down; in the last stage along sides of
the map that exceed a window, so not at the native size. Maps that windows do not divide are padded
at the end, after the norm and the shift, with zeros that are attended to like other positions. From
the native size on this equals timm's network of that `img_size`; below, where that has smaller
windows and other weights, timm's with `strict_img_size=False`. Backbones of dense systems are
mmsegmentation's: they always shift in the last stage too, and pad before the shift.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import with_last_block
from inceptionnext_jax.models.layers.drop import DropNoise
from inceptionnext_jax.models.layers.heads import PlainHead
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.models.layers.token_mixers import self_attention
from inceptionnext_jax.models.metaformer import MetaFormerBlock, head_drop_index
from inceptionnext_jax.models.metanext import Stem
from inceptionnext_jax.models.names import (
    CONV,
    LAYER_NORM,
    LINEAR,
    Leaf,
    Rule,
    backbone_rules,
    transformer_rules,
)
from inceptionnext_jax.models.network import ResidualNetwork, check_images
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.models.reported import Report

_NORM = functools.partial(LayerNorm, epsilon=1e-5)


class SwinTransformer(ResidualNetwork):
    """Patches of 4 pixels, four stages of window attention, LayerNorm, a linear classifier.

    Attributes:
      stage_dims: Channels per stage; heads have 32 each.
      window: Rows and columns of a window.
      is_backbone: Whether windows are those of mmsegmentation, and images of any size are padded
        with zeros at the end to multiples of 4.
    """

    stage_dims: Sequence[int]
    window: int = 7
    is_backbone: bool = False

    image_multiple: ClassVar[int] = 4

    def setup(self) -> None:
        self.stem = Stem(
            self.stage_dims[0], 4, functools.partial(_NORM, dtype=self.dtype), self.dtype
        )
        blocks = [
            [
                functools.partial(
                    MetaFormerBlock,
                    mixer=functools.partial(
                        WindowAttention,
                        self.window,
                        shift=self.window // 2 if j % 2 else 0,
                        always_shifts=self.is_backbone or i < 3,
                        pads_first=self.is_backbone,
                    ),
                    norm=_NORM,
                    dtype=self.dtype,
                )
                for j in range(depth)
            ]
            for i, depth in enumerate(self.stage_depths)
        ]
        downsamples: list[Callable[..., nn.Module] | None] = [
            functools.partial(PatchMerging, dim, self.dtype) for dim in self.stage_dims
        ]
        self.stages = self.make_stages(blocks, [None, *downsamples[1:]])
        self.classifier = PlainHead(
            self.num_classes,
            self.dropout_rate,
            head_drop_index(tuple(self.stage_depths)),
            norm=_NORM,
            dtype=self.dtype,
            name="head",
        )

    @nn.nowrap
    def as_backbone(self) -> "SwinTransformer":
        """Returns the network with mmsegmentation's windows."""
        return self.clone(is_backbone=True)

    def _stage_outputs(
        self, x: jax.Array, train: bool, noise: DropNoise | None
    ) -> tuple[jax.Array, ...]:
        if self.is_backbone:
            check_images(x, self.smallest_image)
            bottom, right = (-side % self.image_multiple for side in x.shape[1:3])
            x = jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))
        return super()._stage_outputs(x, train, noise)


class PatchMerging(nn.Module):
    """Concatenates the channels of 2×2 positions between stages: norm, then a linear layer."""

    dim: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, ⌈H / 2⌉, ⌈W / 2⌉, dim]; odd sides are zero-padded."""
        B, H, W, C = x.shape
        x = jnp.pad(x, ((0, 0), (0, H % 2), (0, W % 2), (0, 0)))
        h, w = x.shape[1] // 2, x.shape[2] // 2
        x = x.reshape(B, h, 2, w, 2, C).transpose(0, 1, 3, 4, 2, 5).reshape(B, h, w, 4 * C)
        x = _NORM(dtype=self.dtype, name="norm")(x)
        return dense(self.dim, self.dtype, "reduction", use_bias=False)(x)


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position.

    Parameters: `qkv`, `proj`, `relative_position_bias_table` [(2 window - 1)², heads].

    Attributes:
      window: Rows and columns of a window.
      shift: Positions by which the windows are moved; windows that then hold opposite borders of
        the map are masked.
      always_shifts: Whether they are moved along sides that one window covers, too.
      pads_first: Whether a map is padded before it is shifted, and not after.
      dtype: Type of the products.
    """

    window: int
    shift: int = 0
    always_shifts: bool = True
    pads_first: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mixes x: [B, H, W, C]; heads have 32 channels."""
        (B, H, W, C), k = x.shape, self.window
        down, right = (self.shift if self.always_shifts or side > k else 0 for side in (H, W))
        h, w = -(-H // k), -(-W // k)
        padding = ((0, 0), (0, h * k - H), (0, w * k - W), (0, 0))
        if self.pads_first:
            x = jnp.pad(x, padding)
        x = jnp.roll(x, (-down, -right), (1, 2))
        if not self.pads_first:
            x = jnp.pad(x, padding)
        x = x.reshape(B, h, k, w, k, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, h * w, k * k, C)

        shape = ((2 * k - 1) ** 2, C // 32)
        normal, wide = nn.initializers.normal(0.02), param_dtype(self.dtype)
        table = self.param("relative_position_bias_table", normal, shape, wide)
        bias = table[_pairs(k)].transpose(2, 0, 1)
        if down or right:
            bias = bias + _borders(h, w, k, (down, right))[:, None]
        x = self_attention(x, 32, self.dtype, bias)

        x = x.reshape(B, h, w, k, k, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, h * k, w * k, C)
        if self.pads_first:
            return jnp.roll(x, (down, right), (1, 2))[:, :H, :W]
        return jnp.roll(x[:, :H, :W], (down, right), (1, 2))


def _pairs(k: int) -> np.ndarray:
    """Returns [k², k²] rows of the bias table by the relative position of query and key."""
    row, column = np.divmod(np.arange(k * k), k)
    rows, columns = row[:, None] - row + k - 1, column[:, None] - column + k - 1
    return rows * (2 * k - 1) + columns


def _borders(h: int, w: int, k: int, shifts: tuple[int, int]) -> np.ndarray:
    """Returns [h · w, k², k²]: -100 between positions of a window from different map borders."""

    def strips(n: int, shift: int) -> np.ndarray:
        position = np.arange(n * k)
        return (position >= (n - 1) * k).astype(int) + (position >= n * k - shift)

    area = 3 * strips(h, shifts[0])[:, None] + strips(w, shifts[1])
    area = area.reshape(h, k, w, k).transpose(0, 2, 1, 3).reshape(h * w, k * k)
    return np.where(area[:, :, None] == area[:, None], 0.0, -100.0).astype(np.float32)


_NAMES = (
    *transformer_rules(r"layers.\1.blocks.\2"),
    Rule(r"stem/norm", r"patch_embed.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/norm", r"layers.\1.downsample.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/(reduction)", r"layers.\1.downsample.\2", LINEAR),
    Rule(r"head/fc", r"head.fc", LINEAR),
)


def _merging_order(a: np.ndarray, offsets: Sequence[int], to_torch: bool) -> np.ndarray:
    """Reorders the last axis: 2×2 positions of C channels there, of which mmcv's are minor."""
    *outer, length = a.shape
    if to_torch:
        a = a.reshape(*outer, 4, length // 4)[..., offsets, :]
        return a.swapaxes(-1, -2).reshape(*outer, length)
    a = a.reshape(*outer, length // 4, 4).swapaxes(-1, -2)[..., offsets, :]
    return a.reshape(*outer, length)


def _merged(name: str, is_kernel: bool = False) -> Leaf:
    """An array of mmsegmentation's patch merging, which unfolds the map: rows come first there."""
    order = (0, 2, 1, 3)  # its own inverse

    def from_torch(a: np.ndarray) -> np.ndarray:
        a = _merging_order(a, order, to_torch=False)
        return a.T if is_kernel else a

    def to_torch(a: np.ndarray) -> np.ndarray:
        return _merging_order(a.T if is_kernel else a, order, to_torch=True)

    return Leaf(name, from_torch, to_torch)


def _previous(template: str) -> Callable[[re.Match[str]], str]:
    """The name of a downsampling that ends the stage before."""
    return lambda match: template.format(int(match[1]) - 1, *match.groups()[1:])


_MERGED_NORM = {"scale": _merged("weight"), "bias": _merged("bias")}
_BLOCK, _THEIRS = r"stages_(\d+)/blocks_(\d+)", r"stages.\1.blocks.\2"
_BIAS_TABLE = {"relative_position_bias_table": Leaf("relative_position_bias_table")}
_MMSEG = (
    Rule(rf"{_BLOCK}/(norm\d)", rf"{_THEIRS}.\3", LAYER_NORM),
    Rule(rf"{_BLOCK}/attn", rf"{_THEIRS}.attn.w_msa", _BIAS_TABLE),
    Rule(rf"{_BLOCK}/attn/(qkv|proj)", rf"{_THEIRS}.attn.w_msa.\3", LINEAR),
    Rule(rf"{_BLOCK}/mlp/fc1", rf"{_THEIRS}.ffn.layers.0.0", LINEAR),
    Rule(rf"{_BLOCK}/mlp/fc2", rf"{_THEIRS}.ffn.layers.1", LINEAR),
    Rule(r"stem/conv", r"patch_embed.projection", CONV),
    Rule(r"stem/norm", r"patch_embed.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/norm", _previous("stages.{}.downsample.norm"), _MERGED_NORM),
    Rule(
        r"stages_(\d+)/downsample/reduction",
        _previous("stages.{}.downsample.reduction"),
        {"kernel": _merged("weight", is_kernel=True)},
    ),
)
# The authors' own repository of segmentation.
_AUTHORS = (
    *transformer_rules(r"layers.\1.blocks.\2"),
    Rule(r"stem/norm", r"patch_embed.norm", LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/norm", _previous("layers.{}.downsample.norm"), LAYER_NORM),
    Rule(r"stages_(\d+)/downsample/(reduction)", _previous("layers.{}.downsample.{}"), LINEAR),
)
_FAMILY = Family(
    (_NAMES,),
    layer_ids=with_last_block,
    output_norm=_NORM,
    backbones={"mmseg": backbone_rules(_MMSEG), "official": backbone_rules(_AUTHORS)},
)


def _register(
    name: str,
    depths: tuple[int, ...],
    dim: int,
    *,
    top1: float,
    source: str,
    others: tuple[Report, ...] = (),
    size: int = 224,
    weights: str = "ms_in1k",
) -> None:
    window = 7 if size == 224 else 12
    architecture = f"{name.removesuffix(f'_{size}')}_patch4_window{window}_{size}"
    about = ModelInfo(
        name=name,
        input_size=size,
        stage_depths=depths,
        feature_strides=PYRAMID,
        family=_FAMILY,
        crop_pct=0.9 if size == 224 else 1.0,
        top1=top1,
        top1_source=source,
        other_reports=others,
        hub_id=f"timm/{architecture}.{weights}",
        licence="mit",
    )
    settings: dict[str, Any] = {"stage_dims": (dim, 2 * dim, 4 * dim, 8 * dim), "window": window}
    register_model(about, functools.partial(SwinTransformer, **settings))


_TABLE = "reported by the paper of InceptionNeXt"
_CONVNEXT = "reported by the paper of ConvNeXt"
_22K = f"{_CONVNEXT} (ImageNet-22K first)"
_FROM_22K = "ms_in22k_ft_in1k"
_DEEP = (2, 2, 18, 2)
_BASE_22K = Report(
    0.852, _CONVNEXT, f"ImageNet-22K first: timm/swin_base_patch4_window7_224.{_FROM_22K}"
)
_BASE_384_22K = Report(
    0.864, _CONVNEXT, f"ImageNet-22K first: timm/swin_base_patch4_window12_384.{_FROM_22K}"
)
_register("swin_tiny", (2, 2, 6, 2), 96, top1=0.813, source=_TABLE)
_register("swin_small", _DEEP, 96, top1=0.830, source=_TABLE)
_register("swin_base", _DEEP, 128, top1=0.835, source=_CONVNEXT, others=(_BASE_22K,))
_register("swin_base_384", _DEEP, 128, size=384, top1=0.845, source=_TABLE, others=(_BASE_384_22K,))
_register("swin_large", _DEEP, 192, weights=_FROM_22K, top1=0.863, source=_22K)
_register("swin_large_384", _DEEP, 192, size=384, weights=_FROM_22K, top1=0.873, source=_22K)
