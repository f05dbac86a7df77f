"""What the networks beside MetaNeXt share: their calls, and stages of blocks."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.drop import DropNoise
from inceptionnext_jax.models.metanext import check_images, drop_path_rates

# Given `name`, makes a module that is called with (x, noise, rate, place, train).
BlockFactory = Callable[..., nn.Module]


class Network(nn.Module, kw_only=True):
    """A stem, stages of blocks and a classifier, which subclasses make in `setup`.

    They are `stem(x, train)`, `stages` of (x, noise, train), and `classifier(x, noise)`.

    Attributes:
      stage_depths: Blocks per stage.
      num_classes: Outputs of the classifier.
      drop_path_rate: Rate of the last block; it rises linearly from 0 at the first.
      dropout_rate: Before the last linear layer.
      remat: Recompute blocks in the backward pass instead of keeping their activations.
      dtype: Of convolutions, matrix products and activations. Parameters, statistics and logits
        are float32, or float64 if `dtype` is.
    """

    stage_depths: Sequence[int]
    num_classes: int = 1000
    drop_path_rate: float = 0.0
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    smallest_image: ClassVar[int] = 32  # pixels of a side
    image_multiple: ClassVar[int] = 1

    def __call__(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Classifies images.

        Args:
          x: [B, H, W, 3] floats, already normalised.
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
        return self.classifier(self._stage_outputs(x, train, noise)[-1], noise)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H / s, W / s, dim] for strides s = 4, 8, 16, 32.

        Arguments are those of the call; the maps have the compute dtype.
        """
        return self._stage_outputs(x, train, self._noise(x, train, positions))

    def classify(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Maps the last of the `features`, x: [B, h, w, dim], to logits [B, num_classes]."""
        return self.classifier(x, self._noise(x, train, positions))

    def make_stages(
        self,
        blocks: Sequence[Sequence[BlockFactory]],
        downsamples: Sequence[Callable[..., nn.Module] | None] | None = None,
    ) -> list["Stage"]:
        """Returns the stages of the given blocks, each after its downsampling if it has one."""
        rates = drop_path_rates(self.drop_path_rate, self.stage_depths)
        ends = np.cumsum(self.stage_depths)
        return [
            Stage(
                blocks=tuple(factories),
                drop_path_rates=tuple(rates[end - len(factories) : end].tolist()),
                first_block=int(end) - len(factories),
                downsample=downsample,
                remat=self.remat,
            )
            for factories, end, downsample in zip(
                blocks, ends, downsamples or [None] * len(blocks), strict=True
            )
        ]

    def _stage_outputs(
        self, x: jax.Array, train: bool, noise: DropNoise | None
    ) -> tuple[jax.Array, ...]:
        check_images(x, self.smallest_image)
        if any(side % self.image_multiple for side in x.shape[1:3]):
            raise UserError(
                f"images are {x.shape[1]}×{x.shape[2]} pixels, but {type(self).__name__} needs "
                f"multiples of {self.image_multiple}; resize or pad them"
            )
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


class Stage(nn.Module):
    """An optional downsampling and then blocks, each with its drop-path rate.

    Attributes:
      blocks: Their factories.
      drop_path_rates: One for each block.
      first_block: Number of the first block in the network.
      downsample: Makes what comes before them, called with (x, train).
      remat: Recompute blocks in the backward pass.
    """

    blocks: Sequence[BlockFactory]
    drop_path_rates: Sequence[float]
    first_block: int
    downsample: Callable[..., nn.Module] | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H', W', dim]."""
        if self.downsample is not None:
            x = self.downsample(name="downsample")(x, train)

        def apply_block(block, x, noise, rate, place):
            return block(x, noise, rate, place, train)

        if self.remat:
            apply_block = nn.remat(apply_block)
        rates = np.asarray(self.drop_path_rates, np.float32)
        for j, (make_block, rate) in enumerate(zip(self.blocks, rates, strict=True)):
            x = apply_block(make_block(name=f"blocks_{j}"), x, noise, rate, self.first_block + j)
        return x
