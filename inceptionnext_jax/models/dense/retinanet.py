"""RetinaNet (ICCV 2017): class scores and boxes of anchors, trained by the focal loss."""

import functools

import jax
from jax import lax
from jax import numpy as jnp

from inceptionnext_jax.models.dense import rpn
from inceptionnext_jax.models.dense.detection_heads import RetinaHead
from inceptionnext_jax.models.dense.detection_losses import focal, mean_over, smooth_l1
from inceptionnext_jax.models.dense.detector import SCORE_THRESHOLD, Detector, best_of_classes
from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.ops import anchors as anchor_ops
from inceptionnext_jax.ops import boxes as box_ops
from inceptionnext_jax.ops.anchors import RETINA as ANCHORS
from inceptionnext_jax.ops.assign import BACKGROUND, IGNORED
from inceptionnext_jax.ops.assign import RETINA as RULE

Maps = tuple[jax.Array, ...]


class RetinaNet(Detector):
    """A backbone, a pyramid of five levels from stride 8 on, and `retina_head`.

    Attributes, beside those of `Detector`:
      proposals: Pairs of an anchor and a class of each level that enter the suppression.
    """

    proposals: int = 1000

    def setup(self) -> None:
        super().setup()
        self.neck = Fpn(self.channels, start=1, extra="conv", dtype=self.dtype)
        self.retina_head = RetinaHead(
            self.num_classes, ANCHORS.per_position, self.channels, dtype=self.dtype
        )

    def _found(self, maps: Maps, sizes: jax.Array) -> dict[str, jax.Array]:
        return self.from_levels(self.neck(maps), sizes)

    def from_levels(self, levels: Maps, sizes: jax.Array) -> dict[str, jax.Array]:
        """Returns the call's results, given the pyramid and the images' sizes [B, 2]."""
        scores, deltas = self.retina_head(levels)
        candidates = [
            self._candidates(level, *of_level, sizes)
            for level, of_level in enumerate(zip(scores, deltas, strict=True))
        ]
        boxes, values, labels = (
            jnp.concatenate(parts, axis=1) for parts in zip(*candidates, strict=True)
        )
        valid = (values > SCORE_THRESHOLD) & box_ops.has_area(boxes)
        best = functools.partial(best_of_classes, size=self.detections)
        return jax.vmap(best)(boxes, values, labels, valid)

    def _candidates(
        self, level: int, scores: jax.Array, deltas: jax.Array, sizes: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns boxes [B, n, 4], probabilities and classes [B, n] of a level's best pairs.

        One anchor may be among them with several classes.
        """
        B, h, w, _ = scores.shape
        pairs = jax.nn.sigmoid(scores).reshape(B, -1)
        values, indices = lax.top_k(pairs, min(self.proposals, pairs.shape[1]))
        anchors, labels = indices // self.num_classes, indices % self.num_classes
        chosen = jnp.take_along_axis(deltas.reshape(B, -1, 4), anchors[..., None], axis=1)
        boxes = anchor_ops.anchor_boxes(ANCHORS, level, (h, w))[anchors]
        return box_ops.clip(box_ops.decode(boxes, chosen, rpn.UNIT_STDS), sizes), values, labels

    def _losses(
        self,
        maps: Maps,
        targets: Targets,
        key: jax.Array,
        positions: jax.Array,
    ) -> dict[str, jax.Array]:
        return self.level_losses(self.neck(maps), targets)

    def level_losses(self, levels: Maps, targets: Targets) -> dict[str, jax.Array]:
        """Returns the results of `losses`, given the pyramid."""
        scores, deltas = self.retina_head(levels)
        anchors, assigned = rpn.assign_anchors(ANCHORS, rpn.sizes_of(scores), targets, RULE)
        objects = jnp.maximum(assigned.objects - 1, 0)
        positive = assigned.objects > BACKGROUND
        classes = jnp.take_along_axis(targets.classes, objects, axis=1)
        logits = jnp.concatenate(rpn.flat(scores, self.num_classes), axis=1)
        wanted = (classes[..., None] == jnp.arange(self.num_classes)) & positive[..., None]
        counts = assigned.objects != IGNORED
        total = jnp.maximum(positive.sum(1), 1).sum()
        boxes = jnp.take_along_axis(targets.boxes, objects[..., None], axis=1)
        encoded = box_ops.encode(anchors, boxes, rpn.UNIT_STDS)
        moves = jnp.concatenate(rpn.flat(deltas, 4), axis=1)
        return {
            "cls": mean_over(focal(logits, wanted), counts[..., None], total),
            "box": mean_over(smooth_l1(moves, encoded, 0.0), positive, total),
        }
