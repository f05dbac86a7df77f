"""Effective receptive fields: which pixels move the centre of a network's last map.

After Luo et al. (2016); the shares of area are those of Ding et al. (RepLKNet, 2022, Table 10).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

SHARES = (0.2, 0.3, 0.5, 0.99)  # of the contributions, as in RepLKNet's table


def make_receptive_field(model: nn.Module) -> Callable[[Any, jax.Array], np.ndarray]:
    """Returns a function (variables, images [B, S, S, 3]) -> [S, S] float64 contributions ≥ 0.

    A pixel's contribution is the positive part of the gradient of the summed channels in the centre
    of the last map, summed over colours and images. Fields of batches add up.
    """

    @jax.jit
    def compute(variables, images):
        def centre(images):
            maps: Any = model.apply(variables, images, train=False, method="features")
            last = maps[-1]
            return last[:, last.shape[1] // 2, last.shape[2] // 2].astype(jnp.float32).sum()

        return jax.nn.relu(jax.grad(centre)(images)).sum((0, 3))

    return lambda variables, images: np.asarray(compute(variables, images), np.float64)


def area_shares(field: np.ndarray, shares: Sequence[float] = SHARES) -> list[float]:
    """Returns, for each share, the part of the image that the smallest square with it covers.

    Args:
      field: [S, S] contributions ≥ 0; the squares share its centre.
      shares: Fractions of the contributions' sum, in (0, 1].
    """
    side = field.shape[0]
    centre = side // 2
    # A square holds the pixels up to some Chebyshev distance from the centre.
    rows, columns = np.indices(field.shape)
    distance = np.maximum(abs(rows - centre), abs(columns - centre))
    held = np.cumsum(np.bincount(distance.ravel(), field.ravel()))
    if held[-1] <= 0:
        return [float("nan")] * len(shares)
    radii = np.searchsorted(held, np.asarray(shares) * held[-1] * (1 - 1e-9))
    return [float(min(2 * radius + 1, side) ** 2 / side**2) for radius in radii]
