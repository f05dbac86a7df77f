"""The base of detectors: the call, the losses, and what both return."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.dense.dense_system import DenseSystem
from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.models.layers.norm import BatchNorm
from inceptionnext_jax.ops.nms import grouped_nms

SCORE_THRESHOLD = 0.05
NMS_THRESHOLD = 0.5


class Detector(DenseSystem):
    """Finds objects: boxes, classes, scores, and masks where there are heads for them.

    Attributes, beside those of `DenseSystem`:
      num_classes: Classes, without a background.
      channels: Channels of the feature pyramid and of the heads' 3×3 convolutions.
      detections: Objects of an image at most.
      frozen_norm: Whether the backbone's BatchNorms use running statistics in training too.
    """

    _: KW_ONLY
    num_classes: int = 80
    channels: int = 256
    detections: int = 100
    frozen_norm: bool = False

    def __call__(
        self, x: jax.Array, sizes: jax.Array | None = None, train: bool = False
    ) -> dict[str, jax.Array]:
        """Finds the objects of images.

        Args:
          x: [B, H, W, 3] floats, already normalised; 0 in the padding.
          sizes: [B, 2] int32, height and width of each image within the padded batch; None is
            H and W of all.
          train: Not allowed; training needs `losses`.

        Returns:
          "boxes": [B, D, 4] float32, x1, y1, x2, y2 in pixels of the batch, D `detections`.
          "scores": [B, D] float32, descending; "labels": [B, D] int32; "valid": [B, D] bool.
          "masks": [B, D, 28, 28] float32, probabilities on a grid over each box; Mask R-CNN only.

        Raises:
          UserError: x does not fit, or `train` is set.
        """
        if train:
            raise UserError("a detector is called for inference only; train it by its `losses`")
        if sizes is None:
            sizes = jnp.broadcast_to(jnp.array(x.shape[1:3], jnp.int32), (len(x), 2))
        return self._found(self.features(x), jnp.asarray(sizes))

    def losses(
        self, x: jax.Array, targets: Targets, key: jax.Array, positions: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the losses of a training batch by name, whose sum is to be minimised.

        Make "batch_stats" mutable, and give rngs={"dropout": key} if a rate is above 0.

        Args:
          x: [B, H, W, 3] floats, as in the call.
          targets: The objects.
          key: For samplers.
          positions: [B] int32, the examples' positions in the global batch, on which their samples
            and drop masks depend; None is 0 … B - 1.

        Raises:
          UserError: Arguments do not fit.
        """
        if positions is None:
            positions = jnp.arange(len(x))
        return self._losses(self.features(x, True, positions), targets, key, positions)

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the backbone's maps, as `DenseSystem.features`."""
        if not self.frozen_norm:
            return super().features(x, train, positions)
        with nn.intercept_methods(_use_running_statistics):
            return super().features(x, train, positions)

    @abstractmethod
    def _found(self, maps: tuple[jax.Array, ...], sizes: jax.Array) -> dict[str, jax.Array]:
        """Returns the call's results."""

    @abstractmethod
    def _losses(
        self,
        maps: tuple[jax.Array, ...],
        targets: Targets,
        key: jax.Array,
        positions: jax.Array,
    ) -> dict[str, jax.Array]:
        """Returns the results of `losses`."""


def best_of_classes(
    boxes: jax.Array, scores: jax.Array, labels: jax.Array, valid: jax.Array, size: int
) -> dict[str, jax.Array]:
    """Returns the best boxes of an image, without those that better ones of the class overlap.

    Args:
      boxes: [N, 4].
      scores: [N].
      labels: [N] int32.
      valid: [N] bool.
      size: D, the number of results.
    """
    kept = grouped_nms(boxes, scores, labels, valid, NMS_THRESHOLD, size)
    return {
        "boxes": jnp.where(kept.valid[:, None], boxes[kept.indices], 0),
        "scores": jnp.where(kept.valid, scores[kept.indices], 0),
        "labels": jnp.where(kept.valid, labels[kept.indices], 0),
        "valid": kept.valid,
    }


def _use_running_statistics(
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: nn.module.InterceptorContext,
) -> Any:
    """Calls a BatchNorm as in inference."""
    if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
        return call(args[0])
    return call(*args, **kwargs)
