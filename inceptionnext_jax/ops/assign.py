"""Assignment of boxes to objects, and the sample of them that a loss is computed on."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.ops import boxes as box_ops

IGNORED = -1
BACKGROUND = 0


class Rule(NamedTuple):
    """Thresholds of the IoU of boxes with objects, as mmdetection's MaxIoUAssigner has them.

    Attributes:
      positive: Smallest best IoU of a box that is assigned to its best object.
      negative: Best IoUs below it make background; boxes between the two are ignored.
      low_quality: Smallest IoU of an object's best boxes, which are assigned to it whatever else
        they overlap; None for no such assignment.
    """

    positive: float
    negative: float
    low_quality: float | None


RPN = Rule(0.7, 0.3, 0.3)
RETINA = Rule(0.5, 0.4, 0.0)
MASK_RCNN = Rule(0.5, 0.5, 0.5)
CASCADE = tuple(Rule(iou, iou, None) for iou in (0.5, 0.6, 0.7))


class Assignment(NamedTuple):
    """The objects of boxes.

    Attributes:
      objects: [N] int32, 1 + index of the object, `BACKGROUND`, or `IGNORED`.
      overlaps: [N], the best IoU, 0 without objects.
    """

    objects: jax.Array
    overlaps: jax.Array


def assign(
    boxes: jax.Array,
    objects: jax.Array,
    valid_objects: jax.Array,
    rule: Rule,
    valid: jax.Array | None = None,
) -> Assignment:
    """Assigns boxes of an image to its objects.

    Objects are visited in order, so that memory is that of the boxes, and time that of the objects
    there are: padding behind the last one costs nothing. Of objects with the same IoU the first
    wins a box by its best IoU, and the last one by low quality. Which boxes share an object's best
    IoU is decided by equality.

    Args:
      boxes: [N, 4].
      objects: [G, 4].
      valid_objects: [G] bool; others are padding, to which no box is assigned.
      rule: The thresholds.
      valid: [N] bool, boxes that take part; others are ignored, and best for no object.
    """
    boxes, objects = lax.stop_gradient((box_ops.widened(boxes), box_ops.widened(objects)))
    boxes = boxes.astype(jnp.result_type(boxes, objects))
    taking_part = jnp.ones(len(boxes), bool) if valid is None else valid
    smallest = math.inf if rule.low_quality is None else rule.low_quality
    number = jnp.max(jnp.where(valid_objects, 1 + jnp.arange(len(objects)), 0), initial=0)

    def visit(index: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        best, argument, low_quality = state
        counts = taking_part & valid_objects[index]
        # Behind the barrier it is one array: computed twice, its bits might differ.
        overlaps = lax.optimization_barrier(box_ops.iou(objects[index], boxes))
        largest = jnp.max(overlaps, where=counts, initial=-1)
        is_best = counts & (overlaps == largest) & (largest >= smallest)
        better = counts & (overlaps > best)
        return (
            jnp.where(better, overlaps, best),
            jnp.where(better, index + 1, argument),
            jnp.where(is_best, index + 1, low_quality),
        )

    none = jnp.zeros(len(boxes), jnp.int32)
    start = (jnp.full(len(boxes), -1, boxes.dtype), none, none)
    best, argument, low_quality = lax.fori_loop(0, number, visit, start)
    best = jnp.maximum(best, 0)
    objects_of = jnp.where(best >= rule.positive, argument, IGNORED)
    objects_of = jnp.where(best < rule.negative, BACKGROUND, objects_of)
    objects_of = jnp.where(low_quality > 0, low_quality, objects_of)
    return Assignment(jnp.where(taking_part, objects_of, IGNORED), best)


class Sample(NamedTuple):
    """Boxes drawn for a loss: positives, then negatives, both in the given order, then padding.

    Attributes:
      indices: [size] int32, 0 where padding.
      positive: [size] bool; only the first int(size · fraction) can be.
      valid: [size] bool, false for padding.
    """

    indices: jax.Array
    positive: jax.Array
    valid: jax.Array


def sample(key: jax.Array, assigned: jax.Array, size: int, fraction: float) -> Sample:
    """Draws boxes of an image, each of a kind with the same probability.

    Args:
      key: The image's own: a function of seed, step and position in the global batch.
      assigned: [N] int32, objects of boxes as in `Assignment`; those ignored are not drawn.
      size: The number to draw.
      fraction: The share of positives, if there are enough; negatives fill what is left.

    Returns:
      A sample, padded if there are too few boxes.
    """
    draws = jax.random.uniform(key, (len(assigned),), jnp.float32)
    most = int(size * fraction)
    positives = _drawn(assigned > BACKGROUND, draws, jnp.int32(most), most)
    left = size - (positives < len(assigned)).sum()
    negatives = _drawn(assigned == BACKGROUND, draws, left, size)
    both = jnp.concatenate([positives, negatives])
    drawn = both < len(assigned)
    slots = jnp.argsort(~drawn, stable=True)[:size]
    positive = slots < most
    valid = drawn[slots]
    return Sample(jnp.where(valid, both[slots], 0), positive & valid, valid)


def _drawn(kind: jax.Array, draws: jax.Array, count: jax.Array, most: int) -> jax.Array:
    """Returns indices of the `count` boxes of a kind with the largest draws, ascending.

    Args:
      kind: [N] bool.
      draws: [N] numbers from 0.
      count: At most `most`.
      most: Length of the result, which the number of boxes N fills up.
    """
    number = len(kind)
    values, indices = lax.top_k(jnp.where(kind, draws, -1), min(most, number))
    taken = (values >= 0) & (jnp.arange(len(indices)) < count)
    ascending = jnp.sort(jnp.where(taken, indices, number))
    return jnp.pad(ascending, (0, most - len(indices)), constant_values=number)
