"""MetaNeXt: a ConvNeXt-like network whose token mixer is an option (InceptionNeXt, method).

The names of submodules are timm's, so that weights are converted by a table. Constants that differ
from Flax's defaults are PyTorch's: exact GELU, VALID padding, normal(0.02) weights, epsilons.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.drop import DropNoise, drop_path, dropout
from inceptionnext_jax.models.norm import BatchNorm
from inceptionnext_jax.models.token_mixers import MixerFactory, token_mixer_factory

TOTAL_STRIDE = 32


class MetaNeXt(nn.Module):
    """Stem, four stages of blocks at strides 4, 8, 16 and 32, and a classifier on the mean.

    Attributes:
      stage_depths: Blocks per stage.
      stage_dims: Channels per stage.
      mlp_ratios: Width of a block's hidden layer over its channels, per stage.
      token_mixer: A name in `TOKEN_MIXERS`, or a factory of mixers.
      num_classes: Outputs of the head.
      drop_path_rate: Rate of the last block; it rises linearly from 0 at the first.
      dropout_rate: Before the last linear layer.
      layer_scale_init: First value of each block's per-channel scale `gamma`.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      depthwise_impl: Which implementation in `ops.depthwise` to use.
      remat: Recompute blocks in the backward pass instead of keeping their activations.
      scan: Stack a stage's blocks and loop over them: less to compile, the same results
        (`stacking.stack_blocks` converts the variables).
      dtype: Of convolutions, matrix products and activations. Parameters, statistics and logits
        are float32, or float64 if `dtype` is.
    """

    stage_depths: Sequence[int]
    stage_dims: Sequence[int]
    mlp_ratios: Sequence[float] = (4, 4, 4, 3)
    token_mixer: str | MixerFactory = "inception"
    num_classes: int = 1000
    drop_path_rate: float = 0.0
    dropout_rate: float = 0.0
    layer_scale_init: float = 1e-6
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    remat: bool = False
    scan: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.stem = Stem(self.stage_dims[0], self.bn_group_size, self.dtype)
        rates = drop_path_rates(self.drop_path_rate, self.stage_depths)
        ends = np.cumsum(self.stage_depths)
        block = {
            "token_mixer": self.token_mixer,
            "layer_scale_init": self.layer_scale_init,
            "bn_group_size": self.bn_group_size,
            "depthwise_impl": self.depthwise_impl,
            "dtype": self.dtype,
        }
        self.stages = [
            Stage(
                dim=dim,
                drop_path_rates=tuple(rates[end - depth : end].tolist()),
                first_block=int(end - depth),
                downsample=i > 0,
                block=block | {"mlp_ratio": ratio},
                remat=self.remat,
                scan=self.scan,
            )
            for i, (depth, end, dim, ratio) in enumerate(
                zip(self.stage_depths, ends, self.stage_dims, self.mlp_ratios, strict=True)
            )
        ]
        self.head = MlpHead(self.num_classes, self.dropout_rate, sum(self.stage_depths), self.dtype)

    def __call__(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Classifies images.

        Args:
          x: [B, H, W, 3] floats, already normalised; H and W at least 32.
          train: Use batch statistics (make "batch_stats" mutable) and drop (give rngs={"dropout":
            key} if a rate is above 0).
          positions: [B] int32, the examples' positions in the global batch, on which their drop
            masks depend; None is 0 … B - 1.

        Returns:
          [B, num_classes] float32 logits (float64 if `dtype` is).

        Raises:
          UserError: x or positions do not fit, or B is no multiple of the BatchNorm group.
        """
        noise = self._noise(x, train, positions)
        return self.head(self._stage_outputs(x, train, noise)[-1], noise)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H / s, W / s, dim] for s = 4, 8, 16, 32.

        Arguments are those of the call; the maps have the compute dtype.
        """
        return self._stage_outputs(x, train, self._noise(x, train, positions))

    def classify(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Maps the last of the `features`, x: [B, h, w, dim], to logits [B, num_classes]."""
        return self.head(x, self._noise(x, train, positions))

    def _stage_outputs(
        self, x: jax.Array, train: bool, noise: DropNoise | None
    ) -> tuple[jax.Array, ...]:
        _check_images(x)
        x = self.stem(x.astype(self.dtype), train)
        outputs = []
        for stage in self.stages:
            x = stage(x, noise, train)
            outputs.append(x)
        return tuple(outputs)

    def _noise(self, x: jax.Array, train: bool, positions: jax.Array | None) -> DropNoise | None:
        """Draws the network's one key, or none when nothing is dropped."""
        if not train or (self.drop_path_rate == 0 and self.dropout_rate == 0):
            return None
        return DropNoise.create(self.make_rng("dropout"), x.shape[0], positions)


class Stem(nn.Module):
    """Cuts images into patches of 4×4 pixels: convolution, then norm."""

    dim: int
    bn_group_size: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = _patch_conv(self.dim, 4, self.dtype)
        self.norm = BatchNorm(self.bn_group_size, dtype=self.dtype)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, H // 4, W // 4, dim]."""
        return self.norm(self.conv(x), train)


class Downsample(nn.Module):
    """Halves the resolution between stages: norm, then convolution."""

    dim: int
    bn_group_size: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.norm = BatchNorm(self.bn_group_size, dtype=self.dtype)
        self.conv = _patch_conv(self.dim, 2, self.dtype)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H // 2, W // 2, dim]."""
        return self.conv(self.norm(x, train))


class Stage(nn.Module):
    """An optional downsampling and then blocks of one width.

    Attributes:
      dim: Channels.
      drop_path_rates: One for each block.
      first_block: Number of the first block in the network.
      downsample: Whether to halve the resolution first.
      block: Arguments of `Block`.
      remat: Recompute blocks in the backward pass.
      scan: Loop over stacked blocks.
    """

    dim: int
    drop_path_rates: Sequence[float]
    first_block: int
    downsample: bool
    block: Any
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H', W', dim], H' = H or H // 2."""
        if self.downsample:
            group, dtype = self.block["bn_group_size"], self.block["dtype"]
            x = Downsample(self.dim, group, dtype, name="downsample")(x, train)

        def apply_block(block, x, noise, rate, place):
            return block(x, noise, rate, place, train), None

        if self.remat:
            # Inside a scan, XLA cannot merge the recomputation with the forward pass anyway.
            apply_block = nn.remat(apply_block, prevent_cse=not self.scan)
        rates = np.asarray(self.drop_path_rates, np.float32)
        places = np.arange(len(rates), dtype=np.int32) + self.first_block
        if self.scan:
            loop = nn.scan(
                apply_block,
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, 0, 0),
                length=len(rates),
            )
            blocks = Block(**self.block, name="blocks")
            return loop(blocks, x, noise, jnp.asarray(rates), jnp.asarray(places))[0]
        for j, (rate, place) in enumerate(zip(rates, places, strict=True)):
            x, _ = apply_block(Block(**self.block, name=f"blocks_{j}"), x, noise, rate, place)
        return x


class Block(nn.Module):
    """x + DropPath(gamma * MLP(Norm(TokenMixer(x)))): one residual, where Transformers have two.

    Attributes are those of `MetaNeXt`.
    """

    mlp_ratio: float
    token_mixer: str | MixerFactory = "inception"
    layer_scale_init: float = 1e-6
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        place: int | jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape.

        Args:
          x: Input.
          noise: Where drop masks come from; None drops nothing.
          rate: Drop-path rate of this block.
          place: Number of this block in the network.
          train: Use batch statistics.
        """
        C = x.shape[-1]
        mixer = token_mixer_factory(self.token_mixer)
        y = mixer(impl=self.depthwise_impl, dtype=self.dtype, name="token_mixer")(x)
        y = BatchNorm(self.bn_group_size, dtype=self.dtype, name="norm")(y, train)
        y = Mlp(int(C * self.mlp_ratio), self.dtype, name="mlp")(y)
        wide = _param_dtype(self.dtype)
        gamma = self.param("gamma", nn.initializers.constant(self.layer_scale_init), (C,), wide)
        y = y * gamma.astype(self.dtype)
        if noise is not None:
            y = drop_path(y, noise, place, rate)
        return x + y


class Mlp(nn.Module):
    """Two 1×1 convolutions with an exact GELU between, as matrix products."""

    hidden: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x: [..., C] to the same shape."""
        C = x.shape[-1]
        x = nn.gelu(_dense(self.hidden, self.dtype, "fc1")(x), approximate=False)
        return _dense(C, self.dtype, "fc2")(x)


class MlpHead(nn.Module):
    """Mean over the map, linear layer to 3 × dim, GELU, norm, dropout, linear layer.

    Attributes:
      num_classes: Outputs.
      dropout_rate: In training.
      place: The number after the last block's, for its dropout mask.
      dtype: Of the first product; the rest is at least float32.
    """

    num_classes: int
    dropout_rate: float = 0.0
    place: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None = None) -> jax.Array:
        """Maps x: [B, h, w, dim] to logits [B, num_classes]."""
        wide = _param_dtype(self.dtype)
        x = x.astype(wide).mean((1, 2))
        x = nn.gelu(_dense(3 * x.shape[-1], self.dtype, "fc1")(x), approximate=False)
        norm = nn.LayerNorm(
            epsilon=1e-6, dtype=wide, param_dtype=wide, use_fast_variance=False, name="norm"
        )
        x = norm(x)
        if noise is not None and self.dropout_rate > 0:
            x = dropout(x, noise, self.place, self.dropout_rate)
        return _dense(self.num_classes, wide, "fc2")(x)


def drop_path_rates(rate: float, stage_depths: Sequence[int]) -> np.ndarray:
    """Returns the rate of each block of the network: linear from 0 to `rate`, both reached."""
    return np.linspace(0, rate, sum(stage_depths))


def _param_dtype(dtype: DTypeLike) -> jnp.dtype:
    return jnp.promote_types(jnp.float32, dtype)


def _dense(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
    return nn.Dense(
        features,
        dtype=dtype,
        param_dtype=_param_dtype(dtype),
        kernel_init=nn.initializers.normal(0.02),
        name=name,
    )


def _patch_conv(features: int, size: int, dtype: DTypeLike) -> nn.Conv:
    """A convolution over patches that do not overlap; what is left at the border is cut off."""
    return nn.Conv(
        features,
        (size, size),
        strides=(size, size),
        padding="VALID",
        dtype=dtype,
        param_dtype=_param_dtype(dtype),
        kernel_init=nn.initializers.normal(0.02),
    )


def _check_images(x: jax.Array) -> None:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(
            f"images are {x.dtype} {tuple(x.shape)}, expected normalised floats [B, H, W, 3]"
        )
    if min(x.shape[1:3]) < TOTAL_STRIDE:
        raise UserError(
            f"images are {x.shape[1]}×{x.shape[2]} pixels, expected at least "
            f"{TOTAL_STRIDE}×{TOTAL_STRIDE}; enlarge them"
        )
