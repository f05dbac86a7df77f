"""Systems of semantic segmentation: a backbone and heads that classify each position."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import Any

import jax
from flax import linen as nn

from inceptionnext_jax.models.dense.dense_system import DenseSystem
from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.heads import FcnHead, FpnHead, PixelHead, UperHead
from inceptionnext_jax.models.layers.drop import DropNoise


class Segmenter(DenseSystem):
    """Classifies each position of the backbone's maps by heads, which subclasses make.

    These are `decode_head`, and with `aux_head` an `auxiliary_head` on the third map.

    Attributes, beside those of `DenseSystem`:
      num_classes: Outputs of each position.
      channels: Channels of the decode head.
      dropout_rate: Rate of the heads' dropout of channels.
      aux_head: Whether there is an auxiliary head.
      aux_channels: Channels of the same.
    """

    _: KW_ONLY
    num_classes: int = 150
    channels: int = 512
    dropout_rate: float = 0.1
    aux_head: bool = False
    aux_channels: int = 256

    def setup(self) -> None:
        super().setup()
        self.decode_head = self._decode_head()
        if self.aux_head:
            self.auxiliary_head = self._head(FcnHead, channels=self.aux_channels, drop_index=1)

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

    @nn.nowrap
    @abstractmethod
    def _decode_head(self) -> PixelHead:
        """Makes the decode head."""

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
