"""The work on the host between a stored example and the rows of a batch, which is a task's own."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from inceptionnext_jax.data.dataset import Example


class ArraySpec(NamedTuple):
    """One array of a transformed example; a batch has a leading axis more.

    Attributes:
      shape: One row's.
      dtype: NumPy's name of it.
      fill: Value of rows that show no example.
    """

    shape: tuple[int, ...]
    dtype: str
    fill: float = 0


class Transform(Protocol):
    """Decodes an example and makes arrays of fixed shape from it, labels included.

    An implementation pickles, since worker processes get a copy; it holds no jax arrays. All its
    randomness is in `uniforms`.
    """

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        """The arrays by name; "mask", "index" and "bad" are taken."""
        ...

    @property
    def num_uniforms(self) -> int:
        """Random numbers for one example; 0 for a deterministic transform."""
        ...

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        """Returns an array for each name of `spec`.

        uniforms: [num_uniforms] float64 in [0, 1).
        Raises BadImageError when the example is damaged.
        """
        ...
