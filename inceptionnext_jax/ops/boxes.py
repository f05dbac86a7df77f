"""Boxes (x1, y1, x2, y2) in pixels, as mmdetection computes with them: a width is x2 - x1.

Coordinates are float32 at least, whatever the compute type: bfloat16 has steps of 4 pixels at 1000.
A box without area, such as padding, gives finite values and finite gradients everywhere.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

EPS = 1e-6  # the smallest area, or side, that anything is divided by
MAX_LOG_RATIO = math.log(1000 / 16)  # a decoded side is at most 62.5 times the box's
UNIT_BOX = (0.0, 0.0, 1.0, 1.0)


def areas(boxes: jax.Array) -> jax.Array:
    """Maps boxes [..., 4] to areas [...]; 0 where one side is negative."""
    boxes = widened(boxes)
    return _rounded_product(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])


def intersections(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the areas common to boxes a [..., 4] and b [..., 4], which broadcast."""
    a, b = widened(a), widened(b)
    low = jnp.maximum(a[..., :2], b[..., :2])
    sides = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - low, 0)
    return _rounded_product(sides[..., 0], sides[..., 1])


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns intersection over union of boxes a [..., 4] and b [..., 4], which broadcast.

    `iou(a[:, None], b)` compares all pairs, `iou(a, b)` aligned ones; `iof` and `giou` likewise.
    """
    common = intersections(a, b)
    return common / jnp.maximum(areas(a) + areas(b) - common, EPS)


def iof(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns intersection over the area of a: how much of a lies in b."""
    return intersections(a, b) / jnp.maximum(areas(a), EPS)


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the generalised IoU (CVPR 2019), in [-1, 1]: IoU less the unused part of the hull."""
    a, b = widened(a), widened(b)
    common = intersections(a, b)
    union = jnp.maximum(areas(a) + areas(b) - common, EPS)
    low = jnp.minimum(a[..., :2], b[..., :2])
    sides = jnp.maximum(jnp.maximum(a[..., 2:], b[..., 2:]) - low, 0)
    hull = jnp.maximum(sides[..., 0] * sides[..., 1], EPS)
    return common / union - (hull - union) / hull


def encode(
    boxes: jax.Array, targets: jax.Array, stds: tuple[float, float, float, float]
) -> jax.Array:
    """Returns the deltas that `decode` needs to make `targets` of `boxes` (R-CNN, CVPR 2014).

    Args:
      boxes, targets: [..., 4], which broadcast.
      stds: Divisors of the offsets of the centre, in box sides, and of the logarithms of the sides.

    Returns:
      [..., 4]; 0 where a box or its target has a side that is not above `EPS`.
    """
    boxes, targets = jnp.broadcast_arrays(widened(boxes), widened(targets))
    sound = has_area(boxes, EPS) & has_area(targets, EPS)
    centres, sides = _centres_and_sides(or_unit_box(boxes, sound))
    goals, goal_sides = _centres_and_sides(or_unit_box(targets, sound))
    deltas = jnp.concatenate([(goals - centres) / sides, jnp.log(goal_sides / sides)], axis=-1)
    return deltas / jnp.asarray(stds, deltas.dtype)


def decode(
    boxes: jax.Array, deltas: jax.Array, stds: tuple[float, float, float, float]
) -> jax.Array:
    """Moves and resizes boxes by a network's deltas.

    Args:
      boxes: [..., 4].
      deltas: [..., 4], which broadcasts with `boxes`: for one box per class, boxes are [N, 1, 4]
        and deltas [N, K, 4].
      stds: Factors of the deltas, as in `encode`.

    Returns:
      [..., 4]. Logarithms of ratios of sides are limited to ± `MAX_LOG_RATIO`.
    """
    boxes, deltas = widened(boxes), widened(deltas)
    deltas = deltas * jnp.asarray(stds, deltas.dtype)
    centres, sides = _centres_and_sides(boxes)
    ratios = jnp.exp(jnp.clip(deltas[..., 2:], -MAX_LOG_RATIO, MAX_LOG_RATIO))
    centres, half = centres + sides * deltas[..., :2], sides * ratios / 2
    return jnp.concatenate([centres - half, centres + half], axis=-1)


def clip(boxes: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns boxes limited to their images.

    Args:
      boxes: [..., 4].
      sizes: [*leading, 2], height and width for each of the leading axes of `boxes`: [2] for boxes
        of one image, [B, 2] for boxes [B, N, 4].
    """
    boxes = widened(boxes)
    height, width = jnp.moveaxis(_aligned(sizes, boxes), -1, 0)
    upper = jnp.stack([width, height, width, height], axis=-1)
    return jnp.clip(boxes, 0, upper)


def flip(boxes: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns boxes in the mirrored image, left and right exchanged; arguments as in `clip`."""
    boxes = widened(boxes)
    width = _aligned(sizes, boxes)[..., 1]
    x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
    return jnp.stack([width - x2, y1, width - x1, y2], axis=-1)


def has_area(boxes: jax.Array, least: float = 0.0) -> jax.Array:
    """Maps boxes [..., 4] to [...], whether both sides are above `least`."""
    return (boxes[..., 2:] - boxes[..., :2] > least).all(-1)


def or_unit_box(boxes: jax.Array, sound: jax.Array) -> jax.Array:
    """Returns boxes [..., 4] with (0, 0, 1, 1) where `sound` [...] is false.

    A division by 0, or its logarithm, makes gradients NaN even where its result is not used.
    Replacing the argument avoids that, replacing the result does not.
    """
    return jnp.where(sound[..., None], boxes, jnp.asarray(UNIT_BOX, boxes.dtype))


def widened(x: jax.Array) -> jax.Array:
    """Returns x in float32, or in float64 if it has that."""
    return jnp.asarray(x, wide(jnp.result_type(x)))


def wide(dtype: DTypeLike) -> DTypeLike:
    """Returns the type to compute in: float32, or float64 for float64."""
    return jnp.promote_types(jnp.float32, dtype)


def _rounded_product(width: jax.Array, height: jax.Array) -> jax.Array:
    """Returns an area, rounded before anything is added to it.

    Which anchors share a best IoU is decided by equality of floats. A compiler may skip the
    rounding of a product that it adds to something; it cannot do so through a maximum.
    """
    return jnp.maximum(width * height, 0)


def _centres_and_sides(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _aligned(sizes: jax.Array, boxes: jax.Array) -> jax.Array:
    """Returns sizes [..., 2] in the dtype of boxes [..., 4], with as many axes."""
    sizes = jnp.asarray(sizes, boxes.dtype)
    between = (1,) * (boxes.ndim - sizes.ndim)
    return sizes.reshape(*sizes.shape[:-1], *between, 2)
