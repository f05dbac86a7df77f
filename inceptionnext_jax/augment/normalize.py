"""Normalisation of pixel values by the training set's mean and standard deviation."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(
    image: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike
) -> jax.Array:
    """Returns (image - 255 mean) / (255 std).

    Args:
      image: [N, H, W, 3] uint8, or floats that hold uint8 values.
      mean: per channel, in [0, 1].
      std: per channel, in units of the full range.
      dtype: float32 or float64, for the arithmetic and the result.
    """
    offset = jnp.asarray([255 * value for value in mean], dtype)
    scale = jnp.asarray([255 * value for value in std], dtype)
    return (image.astype(dtype) - offset) / scale
