"""The interface that all networks share, and stages of residual blocks."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.drop import DropNoise
from inceptionnext_jax.models.layers.remat import recomputed

# Given `name`, makes a module that is called with (x, noise, rate, block_index, train).
BlockFactory = Callable[..., nn.Module]
# Given `name`, makes a module that is called with (x, train).
DownsampleFactory = Callable[..., nn.Module]


class Network(nn.Module):
    """A stem, stages and a classifier, which subclasses make in `setup`.

    These are `stem(x, train)`, `stages` of (x, noise, train), and `classifier(x, noise)`; a network
    of other parts overrides `_stage_outputs` and `_classified`.

    Attributes:
      stage_depths: Blocks per stage.
      num_classes: Outputs of the classifier.
      dropout_rate: Rate of the dropout before the last linear layer.
      remat: Whether to recompute blocks in the backward pass instead of keeping their activations;
        or the name of a policy in `remat.POLICIES`, of which True is "full".
      dtype: Type of convolutions, matrix products and activations. Parameters, statistics and
        logits are float32, or float64 if `dtype` is.
    """

    stage_depths: Sequence[int]
    _: KW_ONLY
    num_classes: int = 1000
    dropout_rate: float = 0.0
    remat: bool | str = False
    dtype: DTypeLike = jnp.float32

    image_multiple: ClassVar[int] = 1  # in pixels, of both sides

    @property
    def smallest_image(self) -> int:
        """The smallest height and width, in pixels."""
        return 32

    @staticmethod
    def explained_layer(paths: Sequence[str]) -> str:
        """Returns the layer that class activation maps explain where none is named.

        Args:
          paths: Layers whose output is a map, in order of their call.

        Returns:
          The last stage, all that the classifier sees.
        """
        return last_stage(paths)

    def __call__(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Classifies images.

        Args:
          x: [B, H, W, 3] floats, already normalised; H and W at least `smallest_image`.
          train: Use batch statistics (make "batch_stats" mutable) and drop (give rngs={"dropout":
            key} if a rate is above 0).
          positions: [B] int32, the examples' positions in the global batch, on which their drop
            masks depend; None is 0 … B - 1.

        Returns:
          [B, num_classes] float32 logits (float64 if `dtype` is).

        Raises:
          UserError: x or positions do not fit, or B is not a multiple of the BatchNorm group.
        """
        noise = self._noise(x, train, positions)
        return self._classified(self._stage_outputs(x, train, noise)[-1], train, noise)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the output of each stage, [B, H / s, W / s, dim] for strides s = 4, 8, 16, 32.

        Networks of one stage return one map, those with an `output_stride` keep to it.
        Arguments are those of the call; the maps have the compute dtype.
        """
        return self._stage_outputs(x, train, self._noise(x, train, positions))

    def classify(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Maps the last of the `features`, x: [B, h, w, dim], to logits [B, num_classes]."""
        return self._classified(x, train, self._noise(x, train, positions))

    @nn.nowrap
    def as_backbone(self) -> "Network":
        """Returns the network in the form whose `features` dense systems use."""
        return self

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

    def _classified(self, x: jax.Array, train: bool, noise: DropNoise | None) -> jax.Array:
        return self.classifier(x, noise)

    def _noise(self, x: jax.Array, train: bool, positions: jax.Array | None) -> DropNoise | None:
        """Draws the network's only key, or none when nothing is dropped."""
        if not train or not self._drops():
            return None
        return DropNoise.create(self.make_rng("dropout"), x.shape[0], positions)

    @nn.nowrap
    def _drops(self) -> bool:
        return self.dropout_rate > 0


class ResidualNetwork(Network):
    """A network of residual blocks with stochastic depth.

    Attributes:
      drop_path_rate: Drop-path rate of the last block; it rises linearly from 0 at the first.
    """

    _: KW_ONLY
    drop_path_rate: float = 0.0

    @nn.nowrap
    def _drops(self) -> bool:
        return self.drop_path_rate > 0 or super()._drops()

    def make_stages(
        self,
        blocks: Sequence[Sequence[BlockFactory]],
        downsamples: Sequence[DownsampleFactory | None] | None = None,
        scan: bool = False,
    ) -> list["Stage"]:
        """Returns stages of the given blocks, each after its downsampling if it has one."""
        rates = drop_path_rates(self.drop_path_rate, self.stage_depths)
        ends = np.cumsum(self.stage_depths)
        return [
            Stage(
                blocks=tuple(factories),
                drop_path_rates=tuple(rates[end - len(factories) : end].tolist()),
                first_block=int(end) - len(factories),
                downsample=downsample,
                remat=self.remat,
                scan=scan,
            )
            for factories, end, downsample in zip(
                blocks, ends, downsamples or [None] * len(blocks), strict=True
            )
        ]


class Stage(nn.Module):
    """An optional downsampling and then blocks, each with its drop-path rate.

    Attributes:
      blocks: A factory for each block.
      drop_path_rates: A rate for each block.
      first_block: Index of the first block in the network.
      downsample: Factory of the downsampling before the blocks.
      remat: Whether to recompute blocks in the backward pass, as in `Network`.
      scan: Whether to loop over stacked blocks; all factories are then the same.
    """

    blocks: Sequence[BlockFactory]
    drop_path_rates: Sequence[float]
    first_block: int
    downsample: DownsampleFactory | None = None
    remat: bool | str = False
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H', W', dim]."""
        if self.downsample is not None:
            x = self.downsample(name="downsample")(x, train)

        def apply_block(block, x, noise, rate, block_index):
            return block(x, noise, rate, block_index, train), None

        # Inside a scan, XLA cannot merge the recomputation with the forward pass anyway.
        apply_block = recomputed(apply_block, self.remat, prevent_cse=not self.scan)
        rates = np.asarray(self.drop_path_rates, np.float32)
        indices = np.arange(len(rates), dtype=np.int32) + self.first_block
        if self.scan:
            loop = nn.scan(
                apply_block,
                variable_axes={"params": 0, "batch_stats": 0, "host": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, 0, 0),
                length=len(rates),
            )
            blocks = self.blocks[0](name="blocks")
            return loop(blocks, x, noise, jnp.asarray(rates), jnp.asarray(indices))[0]
        for j, make_block in enumerate(self.blocks):
            x, _ = apply_block(make_block(name=f"blocks_{j}"), x, noise, rates[j], indices[j])
        return x


def with_options(model: nn.Module, **options: Any) -> nn.Module:
    """Returns the model with those of the options changed that it, or its backbone, has."""
    own = {name: value for name, value in options.items() if hasattr(model, name)}
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        own["backbone"] = with_options(backbone, **options)
    return model.clone(**own) if own else model


def has_option(model: nn.Module, name: str) -> bool:
    """Returns whether `with_options` can change an option of the model or its backbone."""
    backbone = getattr(model, "backbone", None)
    return hasattr(model, name) or (isinstance(backbone, nn.Module) and has_option(backbone, name))


def last_stage(paths: Sequence[str]) -> str:
    """Returns the last stage of a network's layers, or its last module without stages."""
    outermost = [path for path in paths if "/" not in path]
    stages = [path for path in outermost if path.startswith("stages_")]
    return (stages or outermost or paths)[-1]


def drop_path_rates(rate: float, stage_depths: Sequence[int]) -> np.ndarray:
    """Returns the drop-path rate of each block: linear from 0 to `rate`, both included."""
    return np.linspace(0, rate, sum(stage_depths))


def check_images(x: jax.Array, smallest: int) -> None:
    """Raises UserError unless x is [B, H, W, 3] floats of at least `smallest` pixels a side."""
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(
            f"images are {x.dtype} {tuple(x.shape)}, expected normalised floats [B, H, W, 3]"
        )
    if min(x.shape[1:3]) < smallest:
        raise UserError(
            f"images are {x.shape[1]}×{x.shape[2]} pixels, expected at least "
            f"{smallest}×{smallest}; enlarge them"
        )
