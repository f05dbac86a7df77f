"""Greedy non-maximum suppression with results of a fixed size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.ops import boxes as box_ops

# Boxes decided at once. On a CPU 64 to 512 take the same time within a factor of two; accelerators
# prefer few large steps.
BLOCK = 256


class Kept(NamedTuple):
    """Boxes that remain, best first.

    Attributes:
      indices: [size] int32, into the given boxes; 0 where not valid.
      valid: [size] bool, the valid ones in front.
    """

    indices: jax.Array
    valid: jax.Array


class _Walk(NamedTuple):
    """The state after some blocks of boxes: kept boxes [size, 4], their indices, their number."""

    block: jax.Array
    boxes: jax.Array
    indices: jax.Array
    number: jax.Array


def nms(boxes: jax.Array, scores: jax.Array, valid: jax.Array, threshold: float, size: int) -> Kept:
    """Keeps each box unless a better box that is kept overlaps it with an IoU above the threshold.

    Exact at every threshold. Boxes are walked in blocks in the order of their scores, equal scores
    in the given order. In each block

    1. boxes are removed that any box kept so far suppresses: those decisions are final, as all
       better boxes outside of the block are decided, and removed boxes suppress nothing;
    2. the rest is decided by repeating keep[j] = not any(keep[i] and overlap[i, j], i before j)
       until nothing changes. The first box is right at once, and each round makes at least the next
       one right, as it depends on earlier ones only. So what no longer changes is the only solution
       of the greedy rule, however long its chains are; usually two to six rounds find it.

    The walk ends when `size` boxes are kept, so time and memory grow with `size` and not with the
    square of the number of boxes: all pairs of box and class can be given.

    Args:
      boxes: [N, 4].
      scores: [N].
      valid: [N] bool; others are neither kept nor suppress anything.
      threshold: The largest IoU that does not suppress.
      size: The largest number of boxes to keep.

    Returns:
      As many of the best boxes that remain as fit. There is no gradient.
    """
    boxes, scores = lax.stop_gradient((box_ops.widened(boxes), scores))
    given = len(boxes)
    block = min(BLOCK, given)
    blocks = -(-given // block)
    order = jnp.argsort(jnp.where(valid, scores, -jnp.inf), descending=True, stable=True)
    order = jnp.pad(order.astype(jnp.int32), (0, blocks * block - given))
    alive = jnp.arange(blocks * block) < valid.sum()

    def unfinished(walk: _Walk) -> jax.Array:
        return (walk.block * block < valid.sum()) & (walk.number < size)

    def walk_block(walk: _Walk) -> _Walk:
        indices = lax.dynamic_slice_in_dim(order, walk.block * block, block)
        mine = boxes[indices]
        keep = lax.dynamic_slice_in_dim(alive, walk.block * block, block)
        known = jnp.arange(size) < walk.number
        keep &= ~(_overlapping(walk.boxes, mine, threshold) & known[:, None]).any(0)
        keep = _decided(_overlapping(mine, mine, threshold), keep)
        slots = jnp.where(keep, walk.number + jnp.cumsum(keep) - 1, size)
        return _Walk(
            walk.block + 1,
            walk.boxes.at[slots].set(mine, mode="drop"),
            walk.indices.at[slots].set(indices, mode="drop"),
            jnp.minimum(walk.number + keep.sum(dtype=jnp.int32), size),
        )

    zero = jnp.int32(0)
    empty = _Walk(zero, jnp.zeros((size, 4), boxes.dtype), jnp.zeros(size, jnp.int32), zero)
    walk = lax.while_loop(unfinished, walk_block, empty)
    return Kept(walk.indices, jnp.arange(size) < walk.number)


def grouped_nms(
    boxes: jax.Array,
    scores: jax.Array,
    groups: jax.Array,
    valid: jax.Array,
    threshold: float,
    size: int,
) -> Kept:
    """`nms` within groups (classes, or levels of a pyramid), and the best of all groups.

    Args:
      boxes, scores, valid, threshold, size: As in `nms`.
      groups: [N] ints from 0; boxes of different groups do not suppress each other.
    """
    return nms(shifted(boxes, groups, valid), scores, valid, threshold, size)


def shifted(boxes: jax.Array, groups: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns boxes [..., 4] moved apart by group: by group · (the largest coordinate + 1).

    As in mmdetection, the rounding of which decides between IoUs near the threshold.
    """
    boxes = box_ops.widened(boxes)
    largest = jnp.max(boxes, where=valid[..., None], initial=0)
    return boxes + (groups.astype(boxes.dtype) * (largest + 1))[..., None]


def _overlapping(a: jax.Array, b: jax.Array, threshold: float) -> jax.Array:
    """Maps boxes [A, 4] and [B, 4] to [A, B], whether their IoU is above the threshold.

    Unlike `boxes.iou` it takes tiny areas as they are; boxes without area overlap nothing.
    """
    common = box_ops.intersections(a[:, None], b)
    union = box_ops.areas(a)[:, None] + box_ops.areas(b) - common
    return common / jnp.where(union > 0, union, 1) > threshold


def _decided(overlapping: jax.Array, keep: jax.Array) -> jax.Array:
    """Applies the greedy rule among boxes [N] in order, of which some are out already."""
    before = jnp.triu(overlapping, 1)
    given = keep

    def changed(rounds: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (rounds[0] != rounds[1]).any()

    def decide(rounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        _, keep = rounds
        return keep, given & ~(before & keep[:, None]).any(0)

    return lax.while_loop(changed, decide, decide((given, given)))[1]
