"""Targets of mask heads: masks of objects as seen by regions, by RoIAlign (Mask R-CNN, ICCV 2017).

The opposite way, from a head's probabilities to pixels, is work for the host: `data/paste.py`.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.ops import boxes as box_ops
from inceptionnext_jax.ops.roi_align import interpolation

CHUNK = 8  # regions at once, each with a copy of its mask


def mask_targets(
    masks: jax.Array, indices: jax.Array, boxes: jax.Array, size: int = 28
) -> jax.Array:
    """Returns what regions should predict of their objects' masks.

    Args:
      masks: [G, H, W] bool or 0 and 1, objects in the padded image.
      indices: [R] int32, each region's object.
      boxes: [R, 4] in pixels, regions, which are limited to the padded image first.
      size: Cells along each side.

    Returns:
      [R, size, size] bool: where at least half of a cell's samples lie on the object, as many
      samples as the cell has pixels.
    """
    boxes = box_ops.clip(boxes, jnp.asarray(masks.shape[1:]))
    return _covered(masks, indices, boxes, size)


def cropped_mask_targets(
    crops: jax.Array, places: jax.Array, indices: jax.Array, boxes: jax.Array, size: int = 28
) -> jax.Array:
    """`mask_targets` from masks that are stored as resized crops, which take less memory.

    Equal to it if a crop is its place pixel by pixel; otherwise as exact as the crop is.

    Args:
      crops: [G, h, w] bool or 0 and 1.
      places: [G, 4] in pixels, the box of the image that each crop covers; outside, masks are 0.
      indices, size: As in `mask_targets`.
      boxes: [R, 4] in pixels, regions within the image.

    Returns:
      [R, size, size] bool; false for a place without area.
    """
    places, boxes = box_ops.widened(places)[indices], box_ops.widened(boxes)
    sound = box_ops.has_area(places, box_ops.EPS)
    places = box_ops.or_unit_box(places, sound)
    height, width = crops.shape[1:]
    low = jnp.tile(places[:, :2], 2)
    sides = jnp.tile(places[:, 2:] - places[:, :2], 2)
    within = (boxes - low) * (jnp.asarray([width, height] * 2, boxes.dtype) / sides)
    return _covered(crops, indices, within, size) & sound[:, None, None]


def _covered(masks: jax.Array, indices: jax.Array, boxes: jax.Array, size: int) -> jax.Array:
    boxes = lax.stop_gradient(boxes)

    def align(given: tuple[jax.Array, jax.Array]) -> jax.Array:
        index, box = given
        rows, columns = (
            interpolation(box[i] - 0.5, box[i + 2] - box[i], size, jnp.int32(n), jnp.arange(n))
            for i, n in ((1, masks.shape[1]), (0, masks.shape[2]))
        )
        dot = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
        return dot(dot(rows, masks[index].astype(boxes.dtype)), columns.T) >= 0.5

    return lax.map(align, (indices, boxes), batch_size=CHUNK)
