"""Anchors of a pyramid with what a head says of them: proposals of an RPN, and its losses."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.models.dense.detection_losses import (
    binary_cross_entropy,
    mean_over,
    smooth_l1,
)
from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.ops import anchors as anchor_ops
from inceptionnext_jax.ops import boxes as box_ops
from inceptionnext_jax.ops.anchors import Anchors
from inceptionnext_jax.ops.assign import RPN as RULE
from inceptionnext_jax.ops.assign import Assignment, Rule, assign, sample
from inceptionnext_jax.ops.nms import grouped_nms

UNIT_STDS = (1.0, 1.0, 1.0, 1.0)
NMS_THRESHOLD = 0.7

Levels = Sequence[jax.Array]  # [B, h, w, …] each


class Boxes(NamedTuple):
    """Boxes of images, best first.

    Attributes:
      boxes: [B, P, 4] float32 in pixels.
      scores: [B, P] float32.
      valid: [B, P] bool.
    """

    boxes: jax.Array
    scores: jax.Array
    valid: jax.Array


class Sampling(NamedTuple):
    """How anchors of an image are drawn for the losses, and their box loss.

    Attributes:
      size: Anchors of an image.
      fraction: Largest share of positives.
      border: Pixels by which anchors may stick out of the image; below 0 there is no limit.
      beta: Distance at which the box loss turns from a parabola to a line; 0 is L1.
    """

    size: int = 256
    fraction: float = 0.5
    border: int = -1
    beta: float = 0.0


def flat(levels: Levels, width: int) -> list[jax.Array]:
    """Returns maps [B, h, w, A · width] as [B, h · w · A, width], in the order of anchors."""
    return [x.reshape(x.shape[0], -1, width) for x in levels]


def sizes_of(levels: Levels) -> list[tuple[int, int]]:
    """Returns the height and width of each level."""
    return [(x.shape[1], x.shape[2]) for x in levels]


def propose(
    scores: Levels, deltas: Levels, anchors: Anchors, sizes: jax.Array, before: int, after: int
) -> Boxes:
    """Returns the boxes of the best anchors, without those that better ones overlap.

    Args:
      scores: Logits [B, h, w, A] of each level.
      deltas: [B, h, w, 4 · A].
      anchors: Their shapes.
      sizes: [B, 2], height and width of each image, to which boxes are clipped.
      before: Anchors of each level that enter the suppression.
      after: P, boxes of all levels that are returned.

    Returns:
      The proposals, which have no gradient.
    """
    scores, deltas = lax.stop_gradient((list(scores), list(deltas)))
    boxes, logits, levels = [], [], []
    shapes = sizes_of(scores)
    flat_scores, flat_deltas = flat(scores, 1), flat(deltas, 4)
    for level, shape in enumerate(shapes):
        values = flat_scores[level][..., 0]
        best, indices = lax.top_k(values, min(before, values.shape[1]))
        chosen = jnp.take_along_axis(flat_deltas[level], indices[..., None], axis=1)
        start = anchor_ops.anchor_boxes(anchors, level, shape)[indices]
        boxes.append(box_ops.clip(box_ops.decode(start, chosen, UNIT_STDS), sizes))
        logits.append(box_ops.widened(best))
        levels.append(jnp.full(best.shape[1], level, jnp.int32))
    every = jnp.concatenate(boxes, axis=1)
    ranks, level_of = jnp.concatenate(logits, axis=1), jnp.concatenate(levels)

    def suppress(boxes: jax.Array, ranks: jax.Array) -> Boxes:
        valid = box_ops.has_area(boxes)
        kept = grouped_nms(boxes, ranks, level_of, valid, NMS_THRESHOLD, after)
        found = jnp.where(kept.valid[:, None], boxes[kept.indices], 0)
        probabilities = jnp.where(kept.valid, jax.nn.sigmoid(ranks[kept.indices]), 0)
        return Boxes(found, probabilities, kept.valid)

    return jax.vmap(suppress)(every, ranks)


def assign_anchors(
    anchors: Anchors,
    shapes: Sequence[tuple[int, int]],
    targets: Targets,
    rule: Rule,
    border: int = -1,
) -> tuple[jax.Array, Assignment]:
    """Assigns the anchors of all levels to the objects of each image.

    Args:
      anchors: Their shapes.
      shapes: Height and width of each level.
      targets: The objects.
      rule: Thresholds.
      border: As in `Sampling`.

    Returns:
      (the anchors [N, 4], their assignment with arrays [B, N]); anchors in the padding or across
      the border are ignored.
    """
    boxes, inside = [], []
    for level, shape in enumerate(shapes):
        of_level = anchor_ops.anchor_boxes(anchors, level, shape)
        covered = anchor_ops.within_padded(anchors, level, shape, targets.padded_sizes)
        boxes.append(of_level)
        inside.append(covered & anchor_ops.within_border(of_level, targets.sizes, border))
    every = jnp.concatenate(boxes)

    def of_image(objects: jax.Array, valid: jax.Array, inside: jax.Array) -> Assignment:
        return assign(every, objects, valid, rule, inside)

    found = jax.vmap(of_image)(targets.boxes, targets.valid, jnp.concatenate(inside, axis=1))
    return every, found


def rpn_losses(
    scores: Levels,
    deltas: Levels,
    anchors: Anchors,
    targets: Targets,
    keys: jax.Array,
    sampling: Sampling,
) -> tuple[jax.Array, jax.Array]:
    """Returns (loss of objectness, loss of boxes) on a sample of the anchors of each image.

    Args:
      scores, deltas, anchors: As in `propose`.
      targets: The objects.
      keys: [B], a key for each image.
      sampling: How anchors are drawn.
    """
    boxes, assigned = assign_anchors(anchors, sizes_of(scores), targets, RULE, sampling.border)
    logits = jnp.concatenate(flat(scores, 1), axis=1)[..., 0]
    moves = jnp.concatenate(flat(deltas, 4), axis=1)

    def of_image(key, objects_of, objects, logits, moves):  # type: ignore[no-untyped-def]
        drawn = sample(key, objects_of, sampling.size, sampling.fraction)
        wanted = objects[jnp.maximum(objects_of[drawn.indices] - 1, 0)]
        encoded = box_ops.encode(boxes[drawn.indices], wanted, UNIT_STDS)
        of_score = binary_cross_entropy(logits[drawn.indices], drawn.positive)
        of_box = smooth_l1(moves[drawn.indices], encoded, sampling.beta)
        return drawn, of_score, of_box

    drawn, of_scores, of_boxes = jax.vmap(of_image)(
        keys, assigned.objects, targets.boxes, logits, moves
    )
    positives = drawn.positive.sum(1)
    negatives = (drawn.valid & ~drawn.positive).sum(1)
    count = (jnp.maximum(positives, 1) + jnp.maximum(negatives, 1)).sum()
    return (
        mean_over(of_scores, drawn.valid, count),
        mean_over(of_boxes, drawn.positive, count),
    )
