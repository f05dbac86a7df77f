"""Random brightness, contrast and saturation in random order: torchvision's `ColorJitter`.

timm uses it only where RandAugment is off, with one strength for all three and no hue.
"""

import jax
import jax.numpy as jnp

from inceptionnext_jax.augment import pixel_ops
from inceptionnext_jax.augment.keys import COLOR_JITTER, keys_at

BRIGHTNESS, CONTRAST, SATURATION = range(3)


def color_jitter(
    key: jax.Array, image: jax.Array, positions: jax.Array, strength: float
) -> jax.Array:
    """Jitters each image with its own random draws.

    Args:
      key: the step's key.
      image: [N, H, W, 3] uint8.
      positions: [N] int32, position of each image in the global batch.
      strength: factors are uniform in [max(0, 1 - strength), 1 + strength].

    Returns:
      [N, H, W, 3] uint8.
    """
    order, factors = jax.vmap(lambda k: draw_jitter(k, strength))(
        keys_at(key, COLOR_JITTER, positions)
    )
    return apply_jitter(image, order, factors)


def draw_jitter(key: jax.Array, strength: float) -> tuple[jax.Array, jax.Array]:
    """One image's order of the three operations (int32 [3]) and their factors (float32 [3])."""
    for_order, for_factor = jax.random.uniform(key, (2, 3), jnp.float32)
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    return jnp.argsort(for_order).astype(jnp.int32), low + (high - low) * for_factor


def apply_jitter(image: jax.Array, order: jax.Array, factors: jax.Array) -> jax.Array:
    """Applies operation order[n, 0], then order[n, 1], … to image n, each with its factor.

    Args:
      image: [N, H, W, 3] uint8.
      order: [N, 3] int32 of BRIGHTNESS, CONTRAST, SATURATION.
      factors: [N, 3] float32, indexed by operation (not by position in the order).
    """
    for i in range(3):
        operation = order[:, i]
        factor = jnp.take_along_axis(factors, operation[:, None], axis=1)[:, 0]
        grey = pixel_ops.grey_level(image)
        mean = pixel_ops.mean_grey_level(grey)[:, None, None]
        chosen = operation[:, None, None]
        # All three are blends that differ only in the degenerate image.
        degenerate = jnp.where(chosen == BRIGHTNESS, 0, jnp.where(chosen == CONTRAST, mean, grey))
        image = pixel_ops.blend(degenerate[..., None], image, factor)
    return image
