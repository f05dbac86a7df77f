"""The preparation of images for a network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.data.crop import CenterCrop
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import ModelInfo

_LARGEST = 8192  # pixels; a larger number means a damaged file


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Evaluation's preprocessing: resize, centre crop, normalisation.

    Attributes:
      image_size: Pixels on a side of the crop.
      crop_pct: Before the crop, the short side is resized to floor(image_size / crop_pct).
      interpolation: "bicubic" or "bilinear".
      mean: Per channel, on a scale of 0 to 1.
      std: Per channel, on the same scale.
    """

    image_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises UserError for values outside their range."""
        size = self.image_size
        if type(size) is not int or not 0 < size <= _LARGEST:
            raise UserError(f"image_size={size!r} is not a number of pixels up to {_LARGEST}")
        if not is_number(self.crop_pct) or not 0.01 < self.crop_pct <= 100:
            raise UserError(f"crop_pct={self.crop_pct!r} is not a number in (0.01, 100]")
        self.center_crop  # noqa: B018 (checks the interpolation)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or len(values) != 3:
                raise UserError(f"{name}={values!r} is not three numbers")
            if not all(map(is_number, values)) or (name == "std" and min(values) <= 0):
                raise UserError(f"{name}={values!r} is not three numbers in the range it must have")
            object.__setattr__(self, name, tuple(map(float, values)))

    @classmethod
    def of(cls, info: ModelInfo, given: Mapping[str, Any] | None = None) -> "Preprocessing":
        """Returns a published model's preprocessing, changed by the fields in `given`."""
        published = {
            "image_size": info.input_size,
            "crop_pct": info.crop_pct,
            "interpolation": info.interpolation,
            "mean": info.mean,
            "std": info.std,
        }
        return cls(**{name: (given or {}).get(name, value) for name, value in published.items()})

    @property
    def center_crop(self) -> CenterCrop:
        """The evaluation transform of images, for training runs, `predict`, exports and CAMs."""
        return CenterCrop(self.image_size, self.crop_pct, self.interpolation)

    def pixels(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Decodes, resizes and crops one image, an encoded file or [H, W, 3] uint8.

        Returns [image_size, image_size, 3] uint8; raises UserError if it is not an image.
        """
        if isinstance(image, np.ndarray) and (
            image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
        ):
            raise UserError(
                f"{name} is {image.dtype} {image.shape}, expected uint8 [H, W, 3] (RGB, 0 … 255)"
            )
        return self.center_crop(image, name)
