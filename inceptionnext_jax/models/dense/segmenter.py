"""Systems of semantic segmentation: a backbone and heads that classify each position."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.heads import FcnHead, FpnHead, PixelHead, UperHead
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.folding import fold_conv_norms, require_statistics
from inceptionnext_jax.models.layers.drop import DropNoise
from inceptionnext_jax.models.layers.norm import BatchNorm

NormFactory = Callable[..., nn.Module]


class Segmenter(nn.Module):
    """Classifies each position of the backbone's maps by heads, which subclasses make.

    These are `decode_head`, and with `aux_head` an `auxiliary_head` on the third map.

    Attributes:
      backbone: A network whose `features` have strides 4, 8, 16 and 32, or less with an
        `output_stride`; its classifier is not used and has no parameters.
      num_classes: Outputs of each position.
      channels: Channels of the decode head.
      dropout_rate: Rate of the heads' dropout of channels.
      aux_head: Whether there is an auxiliary head.
      aux_channels: Channels of the same.
      out_norm: Factory of a norm of each of the backbone's maps, given `dtype` and `name`.
      bn_group_size: Images that share training statistics in the heads; 0 is the whole batch.
      is_deployed: Whether norms are folded into adjacent weights, as after `deployed`.
      dtype: Type of convolutions and matrix products; logits are at least float32.
    """

    backbone: nn.Module
    _: KW_ONLY
    num_classes: int = 150
    channels: int = 512
    dropout_rate: float = 0.1
    aux_head: bool = False
    aux_channels: int = 256
    out_norm: NormFactory | None = None
    bn_group_size: int = 0
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if self.out_norm is not None:
            self.output_norms = OutputNorms(
                self.out_norm, self.bn_group_size, self.dtype, name="out_norm"
            )
        self.decode_head = self._decode_head()
        if self.aux_head:
            self.auxiliary_head = self._head(FcnHead, channels=self.aux_channels, drop_index=1)

    @property
    def smallest_image(self) -> int:
        """The smallest height and width, in pixels."""
        return self.backbone.smallest_image

    def __call__(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> jax.Array:
        """Classifies the positions of images at a quarter of their resolution.

        Args:
          x: [B, H, W, 3] floats, already normalised.
          train: Use batch statistics (make "batch_stats" mutable) and drop (give rngs={"dropout":
            key} if a rate is above 0).
          positions: [B] int32, the examples' positions in the global batch, on which their drop
            masks depend; None is 0 … B - 1.

        Returns:
          [B, H / 4, W / 4, num_classes] float32 logits of the decode head (float64 if `dtype` is).

        Raises:
          UserError: x or positions do not fit, or B is not a multiple of the BatchNorm group.
        """
        if self.is_initializing():  # the auxiliary head has parameters too
            return self.heads(x, train, positions)["decode"]
        maps, noise = self.features(x, train, positions), self._noise(x, train, positions)
        return self._decoded(maps, noise, train)

    def heads(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the logits of all heads, for their losses in training.

        Arguments are those of the call.

        Returns:
          {"decode": the call's logits} and, with `aux_head`, "auxiliary": [B, H / 16, W / 16,
          num_classes].
        """
        maps, noise = self.features(x, train, positions), self._noise(x, train, positions)
        logits = {"decode": self._decoded(maps, noise, train)}
        if self.aux_head:
            logits["auxiliary"] = self.auxiliary_head(maps[2], noise, train)
        return logits

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the maps that the heads see: the backbone's, normalised if there is `out_norm`.

        Arguments are those of the call; the maps have the compute dtype.
        """
        maps = self.backbone.features(x, train, positions)
        return maps if self.out_norm is None else self.output_norms(maps, train)

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["Segmenter", dict[str, Any]]:
        """Returns the system with norms folded into weights, and its variables: same logits.

        Args:
          variables: The system's collections.

        Raises:
          UserError: The running statistics are missing, or the backbone cannot be deployed.
        """
        if self.is_deployed:
            return self, dict(variables)
        require_statistics(variables)
        inner = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
        backbone, found = deploy(self.backbone, inner)
        outer = {
            name: {part: value for part, value in tree.items() if part != "backbone"}
            for name, tree in variables.items()
        }
        params = fold_conv_norms(outer["params"], outer.get("batch_stats", {}))
        kept = {"params": params}
        if "out_norm" in outer.get("batch_stats", {}):
            kept["batch_stats"] = {"out_norm": outer["batch_stats"]["out_norm"]}
        both = {
            name: {
                **({"backbone": found[name]} if name in found else {}),
                **kept.get(name, {}),
            }
            for name in found.keys() | kept.keys()
        }
        return self.clone(backbone=backbone, is_deployed=True), both

    @nn.nowrap
    def _decode_head(self) -> PixelHead:
        raise NotImplementedError

    @nn.nowrap
    def _head(self, kind: type[PixelHead], **options: Any) -> Any:
        settings: dict[str, Any] = {
            "channels": self.channels,
            "dropout_rate": self.dropout_rate,
            "bn_group_size": self.bn_group_size,
            "is_deployed": self.is_deployed,
            "dtype": self.dtype,
        }
        return kind(self.num_classes, **(settings | options))

    def _decoded(self, maps: Any, noise: DropNoise | None, train: bool) -> jax.Array:
        return self.decode_head(maps, noise, train)

    def _noise(self, x: jax.Array, train: bool, positions: jax.Array | None) -> DropNoise | None:
        """Draws the heads' key, or none when nothing is dropped."""
        if not train or not self.dropout_rate:
            return None
        return DropNoise.create(self.make_rng("dropout"), x.shape[0], positions)


class UperNet(Segmenter):
    """A backbone with UperNet's decode head."""

    def _decode_head(self) -> PixelHead:
        return self._head(UperHead)


class SemanticFpn(Segmenter):
    """A backbone, a feature pyramid (`neck`), and Semantic FPN's decode head.

    Attributes, beside those of `Segmenter`:
      neck_channels: Channels of the pyramid.
    """

    _: KW_ONLY
    channels: int = 128
    neck_channels: int = 256

    def setup(self) -> None:
        super().setup()
        self.neck = Fpn(self.neck_channels, dtype=self.dtype)

    def _decode_head(self) -> PixelHead:
        # Levels that an output stride keeps at the resolution of those below need fewer steps.
        largest = getattr(self.backbone, "output_stride", 32)
        steps = tuple(min(stride, largest).bit_length() - 3 for stride in (4, 8, 16, 32))
        return self._head(FpnHead, steps=steps)

    def _decoded(self, maps: Any, noise: DropNoise | None, train: bool) -> jax.Array:
        return self.decode_head(self.neck(maps), noise, train)


class OutputNorms(nn.Module):
    """A norm for each map.

    Attributes:
      norm: Factory of a norm.
      bn_group_size: Images that share training statistics, of a `BatchNorm`.
      dtype: Type of the results.
    """

    norm: NormFactory
    bn_group_size: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool = False) -> tuple[jax.Array, ...]:
        """Maps [B, h, w, C] each to the same shape."""
        norm = self.norm
        if norm is BatchNorm:
            norm = functools.partial(norm, self.bn_group_size)
        return tuple(norm(dtype=self.dtype, name=f"norm_{i}")(x, train) for i, x in enumerate(maps))
