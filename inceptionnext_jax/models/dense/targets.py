"""The objects of a batch of images, as losses of detectors take them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Targets(NamedTuple):
    """The objects of B images, G slots each.

    Attributes:
      sizes: [B, 2] int32, height and width of each image within the padded batch.
      boxes: [B, G, 4] float32, x1, y1, x2, y2 in pixels.
      classes: [B, G] int32, 0 .. K - 1.
      valid: [B, G] bool, which slots are objects.
      masks: [B, G, h, w] uint8, 0 .. 255, of the part of the image in `places`; None for networks
        without mask heads.
      places: [B, G, 4], the box that each mask covers; None is the object's own.
    """

    sizes: jax.Array
    boxes: jax.Array
    classes: jax.Array
    valid: jax.Array
    masks: jax.Array | None = None
    places: jax.Array | None = None

    @property
    def padded_sizes(self) -> jax.Array:
        """[B, 2] int32, the sizes of images that are padded for themselves, to multiples of 32."""
        return -(self.sizes // -32) * 32


def image_keys(key: jax.Array, positions: jax.Array) -> jax.Array:
    """Returns a key for each image, which depends on its position in the global batch alone."""
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.asarray(positions))
