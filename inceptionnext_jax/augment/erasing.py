"""Random erasing: a rectangle of noise in the normalised image.

Source: Zhong et al., "Random Erasing Data Augmentation" (2020), in timm's "pixel" mode: area
uniform in [2 %, 1/3] of the image, log aspect uniform in ±log 0.3, standard normal noise per pixel
and channel.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from inceptionnext_jax.augment.keys import ERASING, integers_below, keys_at

_AREA = (0.02, 1 / 3)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))
_TRIES = 10


class Boxes(NamedTuple):
    """Rectangles to erase, int32 arrays of equal shape; height 0 erases nothing."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array


def random_erasing(
    key: jax.Array, image: jax.Array, positions: jax.Array, prob: float, max_count: int = 1
) -> jax.Array:
    """Erases rectangles drawn independently for each image.

    Args:
      key: the step's key.
      image: [N, H, W, 3] float, normalised.
      positions: [N] int32, position of each image in the global batch.
      prob: probability that an image is erased at all.
      max_count: an erased image loses 1 to `max_count` rectangles, whose areas are divided by
        their number.

    Returns:
      Images of the same shape and dtype.
    """
    _, height, width, channels = image.shape

    def draw(image_key: jax.Array) -> tuple[Boxes, jax.Array]:
        box_key, noise_key = jax.random.split(image_key)
        boxes = draw_boxes(box_key, height, width, prob, max_count)
        # Rectangles share one field of noise: where they overlap, only the last would show.
        noise = jax.random.normal(noise_key, (height, width, channels), jnp.float32)
        return boxes, noise

    boxes, noise = jax.vmap(draw)(keys_at(key, ERASING, positions))
    return jnp.where(erased_mask(boxes, height, width)[..., None], noise.astype(image.dtype), image)


def draw_boxes(key: jax.Array, height: int, width: int, prob: float, max_count: int = 1) -> Boxes:
    """One image's rectangles: Boxes of [max_count], height 0 for those not drawn.

    timm tries up to ten times to find a rectangle strictly smaller than the image. All ten are
    drawn here, and the first that fits is taken: the same distribution without a loop.
    """
    uniform = jax.random.uniform(key, (2 + max_count * (2 * _TRIES + 2),), jnp.float32)
    erased = uniform[0] < prob
    count = 1 + integers_below(uniform[1], max_count)
    tries = uniform[2:].reshape(max_count, 2 * _TRIES + 2)
    for_area, for_aspect, for_top, for_left = jnp.split(
        tries, (_TRIES, 2 * _TRIES, 2 * _TRIES + 1), axis=1
    )
    area = _between(for_area, *_AREA) * (height * width) / count.astype(jnp.float32)
    aspect = jnp.exp(_between(for_aspect, *_LOG_ASPECT))
    heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits, axis=1, keepdims=True)
    box_height = jnp.take_along_axis(heights, first, axis=1)[:, 0]
    box_width = jnp.take_along_axis(widths, first, axis=1)[:, 0]
    drawn = erased & (jnp.arange(max_count) < count) & jnp.any(fits, axis=1)
    box_height = jnp.where(drawn, box_height, 0)
    box_width = jnp.where(drawn, box_width, 0)
    top = integers_below(for_top[:, 0], height - box_height + 1)
    left = integers_below(for_left[:, 0], width - box_width + 1)
    return Boxes(top, left, box_height, box_width)


def _between(uniform: jax.Array, low: float, high: float) -> jax.Array:
    return low + (high - low) * uniform


def erased_mask(boxes: Boxes, height: int, width: int) -> jax.Array:
    """Whether each pixel lies in one of its image's boxes ([N, count]): [N, H, W] bool."""
    y = jnp.arange(height, dtype=jnp.int32)[:, None]
    x = jnp.arange(width, dtype=jnp.int32)[None, :]
    mask = jnp.zeros((boxes.top.shape[0], height, width), bool)
    for k in range(boxes.top.shape[1]):
        top, left, box_height, box_width = (field[:, k, None, None] for field in boxes)
        mask |= (y >= top) & (y < top + box_height) & (x >= left) & (x < left + box_width)
    return mask
