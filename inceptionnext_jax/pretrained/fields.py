"""Checks of the fields of a preprocessing, which a stranger's file may hold."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.errors import UserError

LARGEST = 2**14  # pixels; a larger number means a damaged file


def changed(published: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: (given or {}).get(name, value) for name, value in published.items()}


def require_pixels(name: str, value: Any) -> None:
    if type(value) is not int or not 0 < value <= LARGEST:
        raise UserError(f"{name}={value!r} is not a number of pixels up to {LARGEST}")


def require_pair(name: str, value: Any) -> None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UserError(f"{name}={value!r} is not two numbers of pixels")
    for side in value:
        require_pixels(name, side)


def set_channels(preprocessing: object) -> None:
    """Checks mean and std and makes them tuples of floats."""
    for name in ("mean", "std"):
        values = getattr(preprocessing, name)
        if not isinstance(values, tuple | list) or len(values) != 3:
            raise UserError(f"{name}={values!r} is not three numbers")
        if not all(map(is_number, values)) or (name == "std" and min(values) <= 0):
            raise UserError(f"{name}={values!r} is not three numbers in the range it must have")
        object.__setattr__(preprocessing, name, tuple(map(float, values)))


def require_image(image: bytes | np.ndarray, name: str) -> None:
    """Raises UserError for an array that is not [H, W, 3] uint8."""
    if isinstance(image, np.ndarray) and (
        image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
    ):
        raise UserError(
            f"{name} is {image.dtype} {image.shape}, expected uint8 [H, W, 3] (RGB, 0 … 255)"
        )
