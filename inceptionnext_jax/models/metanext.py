"""MetaNeXt: a ConvNeXt-like network whose token mixer is an option (InceptionNeXt, method).

Submodules have timm's names, so that weights are converted by a table. Constants that differ from
Flax's defaults are PyTorch's: exact GELU, VALID padding, normal(0.02) weights, epsilons.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.geometry import StageGeometry, stage_geometry
from inceptionnext_jax.models.layers.conv import dilated_conv, patch_conv
from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.heads import head_class
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import make_norm
from inceptionnext_jax.models.layers.remat import MIXED
from inceptionnext_jax.models.layers.token_mixers import MixerFactory, token_mixer_factory
from inceptionnext_jax.models.metanext_folding import fold_variables
from inceptionnext_jax.models.network import BlockFactory, DownsampleFactory, ResidualNetwork
from inceptionnext_jax.ops.gelu import gelu

NormFactory = Callable[..., nn.Module]


class MetaNeXt(ResidualNetwork):
    """Stem, stages of blocks whose resolution halves from one to the next, and a classifier.

    Four stages after patches of 4 pixels have strides 4, 8, 16 and 32; one stage after patches of
    16 is an isotropic network.

    Attributes, beside those of `ResidualNetwork`:
      stage_dims: Channels per stage.
      mlp_ratios: Width of a block's hidden layer over its channels, per stage.
      token_mixer: A name in `TOKEN_MIXERS`, or a factory of mixers.
      kernel_size: Kernel size of the mixer; None is its default.
      mixer_ratio: Share of channels that the mixer convolves, in each branch; None is its default.
      mixer_name: Name of the mixer in a block's parameters: timm's, "conv_dw" in ConvNeXt.
      norm: A name in `NORMS`, everywhere but in the head.
      head: A name in `HEADS`.
      patch_size: Height and width of the stem's patches, in pixels.
      stem_norm: Whether a norm ends the stem.
      output_stride: Largest stride of the last stage. Stages that would exceed it keep the
        resolution, and their mixers are dilated instead (semantic segmentation; timm's convention).
      layer_scale_init: Initial value of each block's per-channel scale `gamma`; 0 for none.
      head_init_scale: Factor of the classifier's initial weights.
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      depthwise_impl: The implementation in `ops.depthwise`.
      scan: Whether to stack a stage's blocks and loop over them: less to compile, the same results
        (`stacking.stack_blocks` converts the variables).
      is_deployed: Whether norms and layer scales are folded into adjacent weights, as after
        `deployed`; such a network cannot be trained.
    """

    stage_dims: Sequence[int]
    mlp_ratios: Sequence[float] = (4, 4, 4, 3)
    token_mixer: str | MixerFactory = "inception"
    kernel_size: int | None = None
    mixer_ratio: float | None = None
    mixer_name: str = "token_mixer"
    norm: str = "batch"
    head: str = "mlp"
    patch_size: int = 4
    stem_norm: bool = True
    output_stride: int = 32
    layer_scale_init: float = 1e-6
    head_init_scale: float = 1.0
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    scan: bool = False
    is_deployed: bool = False

    def setup(self) -> None:
        norm = functools.partial(make_norm, self.norm, self.bn_group_size, self.dtype)
        inner_norm = functools.partial(norm, folded=self.is_deployed)
        # A LayerNorm cannot be folded into the convolution before it.
        stem_norm = inner_norm if self.norm == "batch" else norm
        self.stem = Stem(
            self.stage_dims[0], self.patch_size, stem_norm if self.stem_norm else None, self.dtype
        )
        block = functools.partial(
            Block,
            token_mixer=token_mixer_factory(self.token_mixer, self.kernel_size, self.mixer_ratio),
            mixer_name=self.mixer_name,
            norm=inner_norm,
            layer_scale_init=0.0 if self.is_deployed else self.layer_scale_init,
            depthwise_impl=self.depthwise_impl,
            dtype=self.dtype,
        )
        blocks: list[list[BlockFactory]] = []
        downsamples: list[DownsampleFactory | None] = []
        for depth, dim, ratio, geometry in zip(
            self.stage_depths, self.stage_dims, self.mlp_ratios, self._geometry(), strict=True
        ):
            stage_block = functools.partial(block, mlp_ratio=ratio, dilation=geometry.dilation)
            blocks.append([stage_block] * depth)
            # The zeros that a dilated downsampling pads with must not be shifted by its norm.
            before = inner_norm if geometry.stride == 2 else norm
            downsample = functools.partial(Downsample, dim, geometry, before, self.dtype)
            downsamples.append(downsample if geometry.downsample else None)
        self.stages = self.make_stages(blocks, downsamples, self.scan)
        self.classifier = head_class(self.head)(
            self.num_classes,
            self.dropout_rate,
            sum(self.stage_depths),
            self.head_init_scale,
            self.dtype,
            name="head",
        )

    @property
    def smallest_image(self) -> int:
        total = self.patch_size * 2 ** (len(self.stage_depths) - 1)
        return min(total, self.output_stride)

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["MetaNeXt", dict[str, Any]]:
        """Returns a network with the same logits whose norms and scales are folded into weights.

        Args:
          variables: "params" and, with BatchNorm, "batch_stats", blocks stacked or not.

        Returns:
          A MetaNeXt for inference only, and its variables; changed parameters are numpy arrays.

        Raises:
          UserError: BatchNorm's statistics are missing.
        """
        if self.is_deployed:
            return self, dict(variables)
        folded = fold_variables(variables, self.norm, self._geometry(), self.scan)
        return self.clone(is_deployed=True), folded

    @nn.nowrap
    def _geometry(self) -> list[StageGeometry]:
        return stage_geometry(len(self.stage_depths), self.patch_size, self.output_stride)

    def _noise(self, x: jax.Array, train: bool, positions: jax.Array | None) -> DropNoise | None:
        if train and self.is_deployed:
            raise UserError(
                "a deployed network has no norms left to train; train the network it was made "
                "from and deploy the result"
            )
        return super()._noise(x, train, positions)


class Stem(nn.Module):
    """Cuts images into square patches: convolution, then norm if there is one."""

    dim: int
    patch_size: int
    norm: NormFactory | None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, 3] to [B, H // patch_size, W // patch_size, dim]."""
        x = patch_conv(self.dim, self.patch_size, self.dtype, "conv")(x)
        return x if self.norm is None else self.norm(name="norm")(x, train)


class Downsample(nn.Module):
    """Norm, then a 2×2 convolution that halves the resolution between stages or is dilated."""

    dim: int
    geometry: StageGeometry
    norm: NormFactory
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H // stride, W // stride, dim]."""
        x = self.norm(name="norm")(x, train)
        if self.geometry.stride == 2:
            return patch_conv(self.dim, 2, self.dtype, "conv")(x)
        return dilated_conv(self.dim, 2, self.geometry.conv_dilation, self.dtype, "conv")(x)


class Block(nn.Module):
    """x + DropPath(gamma * MLP(Norm(TokenMixer(x)))): one residual, where Transformers have two.

    Attributes are those of `MetaNeXt`, except that mixer and norm are factories here, and
    `dilation` is the mixer's.
    """

    mlp_ratio: float
    norm: NormFactory
    token_mixer: MixerFactory
    mixer_name: str = "token_mixer"
    dilation: int = 1
    layer_scale_init: float = 1e-6
    depthwise_impl: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        block_index: int | jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape.

        Args:
          x: Input.
          noise: Source of the drop masks; None drops nothing.
          rate: Drop-path rate of this block.
          block_index: Index of this block in the network.
          train: Use batch statistics.
        """
        C = x.shape[-1]
        y = self.token_mixer(
            dilation=self.dilation,
            impl=self.depthwise_impl,
            dtype=self.dtype,
            name=self.mixer_name,
        )(x)
        y = self.norm(name="norm")(checkpoint_name(y, MIXED), train)
        y = Mlp(int(C * self.mlp_ratio), self.dtype, name="mlp")(y)
        if self.layer_scale_init:
            first = nn.initializers.constant(self.layer_scale_init)
            gamma = self.param("gamma", first, (C,), param_dtype(self.dtype))
            y = y * gamma.astype(self.dtype)
        if noise is not None:
            y = drop_path(y, noise, block_index, rate)
        return x + y


class Mlp(nn.Module):
    """Two 1×1 convolutions with an exact GELU between, as matrix products."""

    hidden: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x: [..., C] to the same shape."""
        C = x.shape[-1]
        x = gelu(dense(self.hidden, self.dtype, "fc1")(x))
        return dense(C, self.dtype, "fc2")(x)
