"""Mask R-CNN (ICCV 2017) and Cascade Mask R-CNN (CVPR 2018), as in mmdetection."""

from dataclasses import KW_ONLY
from typing import ClassVar

import jax
from flax import linen as nn
from jax import numpy as jnp

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.dense import rpn
from inceptionnext_jax.models.dense.detection_heads import ROI_SIZE, BoxHead, MaskHead, RpnHead
from inceptionnext_jax.models.dense.detection_losses import (
    binary_cross_entropy,
    giou_loss,
    mean_over,
    smooth_l1,
    softmax_cross_entropy,
)
from inceptionnext_jax.models.dense.detector import SCORE_THRESHOLD, Detector, best_of_classes
from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.regions import (
    CASCADE_STAGES,
    MASK_RCNN_STAGES,
    Regions,
    Stage,
    draw_regions,
    moved,
    of_objects,
)
from inceptionnext_jax.models.dense.targets import Targets, image_keys
from inceptionnext_jax.ops import boxes as box_ops
from inceptionnext_jax.ops.anchors import RPN as ANCHORS
from inceptionnext_jax.ops.masks import cropped_mask_targets
from inceptionnext_jax.ops.roi_align import STRIDES, roi_align

MASK_ROI_SIZE = 14
GIOU_WEIGHT = 10.0  # of a box loss in Cascade

Maps = tuple[jax.Array, ...]


class MaskRcnn(Detector):
    """A backbone, a pyramid of five levels, `rpn_head`, `bbox_head` and `mask_head`.

    Attributes, beside those of `Detector`:
      fc_channels: Channels of the box heads' linear layers.
      mask_depth: 3×3 convolutions of a mask head.
      proposals: Boxes of an image that the RPN proposes in inference, and of each of its levels.
      rois: Regions of an image that box heads are trained on.
      roi_fraction: Largest share of positives among them, which mask heads are trained on.
      rpn_samples: Anchors of an image that the RPN is trained on.
      roi_align_impl: A name in `ops.roi_align.IMPLEMENTATIONS`, or "auto".
    """

    _: KW_ONLY
    fc_channels: int = 1024
    mask_depth: int = 4
    proposals: int = 1000
    rois: int = 512
    roi_fraction: float = 0.25
    rpn_samples: int = 256
    roi_align_impl: str = "auto"

    stages: ClassVar[tuple[Stage, ...]] = MASK_RCNN_STAGES
    border: ClassVar[int] = -1  # of anchors, as in `rpn.Sampling`
    beta: ClassVar[float] = 0.0  # of the RPN's box loss
    train_proposals: ClassVar[int] = 1  # in training, in multiples of `proposals`

    def setup(self) -> None:
        super().setup()
        self.neck = Fpn(self.channels, extra="pool", dtype=self.dtype)
        self.rpn_head = RpnHead(ANCHORS.per_position, self.channels, self.dtype)
        names = [f"_{i}" for i in range(len(self.stages))] if len(self.stages) > 1 else [""]
        self.bbox_heads = [self._box_head(f"bbox_head{number}") for number in names]
        self.mask_heads = [
            MaskHead(
                self.num_classes, self.mask_depth, self.channels, self.dtype,
                name=f"mask_head{number}",
            )
            for number in names
        ]  # fmt: skip

    @nn.nowrap
    def _box_head(self, name: str) -> BoxHead:
        return BoxHead(self.num_classes, channels=self.fc_channels, dtype=self.dtype, name=name)

    def _found(self, maps: Maps, sizes: jax.Array) -> dict[str, jax.Array]:
        levels = self.neck(maps)
        scores, deltas = self.rpn_head(levels)
        found = self._proposals(scores, deltas, sizes, train=False)
        return self.from_proposals(levels, found.boxes, found.valid, sizes)

    @nn.nowrap
    def _proposals(
        self, scores: list[jax.Array], deltas: list[jax.Array], sizes: jax.Array, train: bool
    ) -> rpn.Boxes:
        before, after = self.proposals, self.proposals
        if train:
            before, after = 2 * before, self.train_proposals * after
        return rpn.propose(scores, deltas, ANCHORS, sizes, before, after)

    def from_proposals(
        self, levels: Maps, proposals: jax.Array, valid: jax.Array, sizes: jax.Array
    ) -> dict[str, jax.Array]:
        """Returns the call's results, given the pyramid and proposals.

        Args:
          levels: The pyramid.
          proposals: [B, P, 4].
          valid: [B, P] bool.
          sizes: [B, 2], height and width of each image.
        """
        boxes, outputs = proposals, []
        for stage in range(len(self.stages)):
            logits, deltas = self._box_outputs(stage, levels, boxes)
            outputs.append(logits)
            if stage < len(self.stages) - 1:
                best = logits[..., :-1].argmax(-1)
                boxes = moved(boxes, deltas, best, self.stages[stage].stds, sizes)
        probabilities = nn.softmax(jnp.stack(outputs).mean(0))[..., :-1]
        moves = box_ops.decode(boxes[:, :, None], deltas, self.stages[-1].stds)
        B, P, K = probabilities.shape
        pairs = box_ops.clip(moves.reshape(B, -1, 4), sizes)
        labels = jnp.tile(jnp.arange(K, dtype=jnp.int32), P)
        likely = (probabilities > SCORE_THRESHOLD) & valid[..., None]

        def best_of(boxes: jax.Array, scores: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
            return best_of_classes(boxes, scores, labels, valid, self.detections)

        found = jax.vmap(best_of)(pairs, probabilities.reshape(B, -1), likely.reshape(B, -1))
        return {**found, "masks": self._masks(levels, found["boxes"], found["labels"])}

    def _masks(self, levels: Maps, boxes: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns the probabilities of each box's class, the mean over the stages."""
        features = self._cut(levels, boxes, MASK_ROI_SIZE)
        found = []
        for head in self.mask_heads:
            logits = head(features.reshape(-1, *features.shape[2:]))
            chosen = jnp.take_along_axis(logits, labels.reshape(-1, 1, 1, 1), axis=-1)[..., 0]
            found.append(nn.sigmoid(chosen))
        masks = jnp.stack(found).mean(0)
        return masks.reshape(*boxes.shape[:2], *masks.shape[1:])

    def _losses(
        self, maps: Maps, targets: Targets, key: jax.Array, positions: jax.Array
    ) -> dict[str, jax.Array]:
        levels = self.neck(maps)
        scores, deltas = self.rpn_head(levels)
        keys = image_keys(key, positions)
        sampling = rpn.Sampling(self.rpn_samples, border=self.border, beta=self.beta)
        of_scores, of_boxes = rpn.rpn_losses(scores, deltas, ANCHORS, targets, keys, sampling)
        found = self._proposals(scores, deltas, targets.sizes, train=True)
        regions = self.region_losses(levels, found.boxes, found.valid, targets, keys)
        return {"rpn_cls": of_scores, "rpn_box": of_boxes, **regions}

    def region_losses(
        self,
        levels: Maps,
        proposals: jax.Array,
        valid: jax.Array,
        targets: Targets,
        keys: jax.Array,
    ) -> dict[str, jax.Array]:
        """Returns the losses of the box and mask heads, given the pyramid and proposals.

        Args:
          levels, proposals, valid: As in `from_proposals`.
          targets: The objects.
          keys: [B], a key for each image.
        """
        losses: dict[str, jax.Array] = {}
        for number, stage in enumerate(self.stages):
            of_stage = jax.vmap(lambda key, n=number: jax.random.fold_in(key, n + 1))(keys)
            regions = draw_regions(
                of_stage, proposals, valid, targets, stage.rule, self.rois, self.roi_fraction
            )
            classes = of_objects(targets.classes, regions.objects)
            labels = jnp.where(regions.positive, classes, self.num_classes)
            logits, deltas = self._box_outputs(number, levels, regions.boxes, regions.valid)
            terms = {
                "cls": mean_over(
                    softmax_cross_entropy(logits, labels), regions.valid, regions.valid.sum()
                ),
                "box": self._box_loss(stage, regions, deltas, classes, targets),
                "mask": self._mask_loss(number, levels, regions, classes, targets),
            }
            suffix = f"_{number}" if len(self.stages) > 1 else ""
            losses |= {f"{name}{suffix}": stage.weight * term for name, term in terms.items()}
            if number < len(self.stages) - 1:
                best = jnp.where(regions.positive, classes, logits[..., :-1].argmax(-1))
                proposals = moved(regions.boxes, deltas, best, stage.stds, targets.sizes)
                valid = regions.valid & ~regions.is_object
        return losses

    def _box_loss(
        self,
        stage: Stage,
        regions: Regions,
        deltas: jax.Array,
        classes: jax.Array,
        targets: Targets,
    ) -> jax.Array:
        """Returns the loss of the positives' deltas, divided by the number of all regions."""
        chosen = jnp.take_along_axis(deltas, classes[..., None, None], axis=2)[:, :, 0]
        objects = of_objects(targets.boxes, regions.objects)
        # Padding, and regions without area, must not bring NaN into gradients.
        boxes = box_ops.or_unit_box(regions.boxes, regions.positive)
        loss = self._distance(stage, boxes, chosen, objects)
        return mean_over(loss, regions.positive, regions.valid.sum())

    @nn.nowrap
    def _distance(
        self, stage: Stage, boxes: jax.Array, deltas: jax.Array, objects: jax.Array
    ) -> jax.Array:
        """Maps regions, deltas and objects [B, R, 4] to losses [B, R]."""
        return smooth_l1(deltas, box_ops.encode(boxes, objects, stage.stds), 0.0)

    def _mask_loss(
        self,
        number: int,
        levels: Maps,
        regions: Regions,
        classes: jax.Array,
        targets: Targets,
    ) -> jax.Array:
        """Returns the cross entropy of the positives' masks, averaged over their cells."""
        most = int(self.rois * self.roi_fraction)  # positives are in front
        boxes, positive = regions.boxes[:, :most], regions.positive[:, :most]
        features = self._cut(levels, boxes, MASK_ROI_SIZE)
        logits = self.mask_heads[number](features.reshape(-1, *features.shape[2:]))
        chosen = jnp.take_along_axis(logits, classes[:, :most].reshape(-1, 1, 1, 1), axis=-1)
        chosen = chosen.reshape(*boxes.shape[:2], *logits.shape[1:3])
        places = targets.boxes if targets.places is None else targets.places

        def wanted(masks, places, objects, boxes):  # type: ignore[no-untyped-def]
            return cropped_mask_targets(masks, places, objects, boxes, chosen.shape[-1])

        canvas = jnp.array(levels[0].shape[1:3], jnp.int32) * STRIDES[0]
        within = box_ops.clip(boxes, jnp.broadcast_to(canvas, targets.sizes.shape))
        if targets.masks is None:
            raise UserError("the network has mask heads, but its targets have no masks; give both")
        crops = targets.masks / jnp.asarray(255, boxes.dtype)
        masks = jax.vmap(wanted)(crops, places, regions.objects[:, :most], within)
        losses = binary_cross_entropy(chosen, masks).mean((2, 3))
        return mean_over(losses, positive, positive.sum())

    def _box_outputs(
        self, stage: int, levels: Maps, boxes: jax.Array, valid: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns logits [B, R, K + 1] and deltas [B, R, K, 4] of regions [B, R, 4].

        valid: [B, R] bool, in training only: the regions that statistics of norms are made of.
        """
        features = self._cut(levels, boxes, ROI_SIZE)
        B, R = boxes.shape[:2]
        rows = None if valid is None else valid.reshape(-1)
        features = features.reshape(B * R, *features.shape[2:])
        logits, deltas = self.bbox_heads[stage](features, valid is not None, rows)
        return logits.reshape(B, R, -1), deltas.reshape(B, R, -1, 4)

    def _cut(self, levels: Maps, boxes: jax.Array, size: int) -> jax.Array:
        """Returns the features of regions, [B, R, size, size, C]."""
        return roi_align(levels[: len(STRIDES)], boxes, size, impl=self.roi_align_impl)


class CascadeMaskRcnn(MaskRcnn):
    """Three pairs of heads, `bbox_head_0` … and `mask_head_0` …; each refines the boxes.

    Box heads have convolutions with BatchNorm, as in the configs of ConvNeXt and Swin.
    """

    stages: ClassVar[tuple[Stage, ...]] = CASCADE_STAGES
    border: ClassVar[int] = 0
    beta: ClassVar[float] = 1 / 9
    train_proposals: ClassVar[int] = 2

    @nn.nowrap
    def _box_head(self, name: str) -> BoxHead:
        return BoxHead(
            self.num_classes,
            conv_depth=4,
            fc_depth=1,
            conv_channels=self.channels,
            channels=self.fc_channels,
            bn_group_size=self.bn_group_size * self.rois,
            is_deployed=self.is_deployed,
            dtype=self.dtype,
            name=name,
        )

    @nn.nowrap
    def _distance(
        self, stage: Stage, boxes: jax.Array, deltas: jax.Array, objects: jax.Array
    ) -> jax.Array:
        return GIOU_WEIGHT * giou_loss(box_ops.decode(boxes, deltas, stage.stds), objects)
