"""Anchors: the boxes that RPN and RetinaNet start from, a few at every position of a pyramid."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RATIOS = (0.5, 1.0, 2.0)  # height / width


class Anchors(NamedTuple):
    """The shapes of anchors on each level of a pyramid.

    Attributes:
      strides: Pixels between the positions of each level.
      scales: Sides of a square anchor, in strides.
      ratios: Height / width.
    """

    strides: tuple[int, ...]
    scales: tuple[float, ...]
    ratios: tuple[float, ...] = RATIOS

    @property
    def per_position(self) -> int:
        """The number of anchors at a position."""
        return len(self.scales) * len(self.ratios)


RPN = Anchors((4, 8, 16, 32, 64), (8,))
RETINA = Anchors((8, 16, 32, 64, 128), tuple(4 * 2 ** (i / 3) for i in range(3)))


def base_anchors(anchors: Anchors, level: int) -> np.ndarray:
    """Returns the anchors around position 0 as [A, 4] float32: ratios outside, scales inside."""
    single = np.float32
    root = np.sqrt(np.asarray(anchors.ratios, single))
    scales = np.asarray(anchors.scales, single)
    stride = single(anchors.strides[level])
    widths = (stride * (1 / root)[:, None] * scales).ravel()
    heights = (stride * root[:, None] * scales).ravel()
    high = np.stack([widths, heights], axis=-1) / 2
    return np.concatenate([-high, high], axis=-1)


def anchor_boxes(anchors: Anchors, level: int, size: tuple[int, int]) -> jax.Array:
    """Returns a level's anchors, centred on multiples of the stride.

    Args:
      anchors: Their shapes.
      level: Index into `anchors.strides`.
      size: Height and width of the level's map.

    Returns:
      [height · width · A, 4] float32: rows outside, then columns, then anchors of a position.
    """
    stride = anchors.strides[level]
    y, x = (stride * jnp.arange(length, dtype=jnp.float32) for length in size)
    x, y = jnp.broadcast_arrays(x, y[:, None])
    centres = jnp.stack([x, y, x, y], axis=-1)
    return (centres[:, :, None] + base_anchors(anchors, level)).reshape(-1, 4)


def within_padded(
    anchors: Anchors, level: int, size: tuple[int, int], padded: jax.Array
) -> jax.Array:
    """Tells which anchors of a level belong to positions that an image covers, with its padding.

    Images of a batch are padded to a common size; an anchor takes part in training only if its
    position lies in its image padded for itself, to a multiple of 32.

    Args:
      anchors, level, size: As in `anchor_boxes`.
      padded: [..., 2], height and width of each image padded for itself.

    Returns:
      [..., height · width · A] bool.
    """
    stride = anchors.strides[level]
    covered = -(jnp.asarray(padded, jnp.int32) // -stride)
    rows = jnp.arange(size[0]) < covered[..., :1]
    columns = jnp.arange(size[1]) < covered[..., 1:]
    positions = rows[..., :, None] & columns[..., None, :]
    flat = positions.reshape(*positions.shape[:-2], -1)
    return jnp.repeat(flat, anchors.per_position, axis=-1)


def within_border(boxes: jax.Array, sizes: jax.Array, border: int) -> jax.Array:
    """Tells which anchors stick out of an image by less than `border` pixels.

    Args:
      boxes: [N, 4].
      sizes: [..., 2], height and width of each image.
      border: In pixels; below 0 there is no limit.

    Returns:
      [..., N] bool.
    """
    sizes = jnp.asarray(sizes)
    if border < 0:
        return jnp.ones((*sizes.shape[:-1], len(boxes)), bool)
    height, width = sizes[..., :1], sizes[..., 1:]
    low = (boxes[:, :2] >= -border).all(-1)
    return low & (boxes[:, 2] < width + border) & (boxes[:, 3] < height + border)
