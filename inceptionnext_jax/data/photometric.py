"""Random changes of brightness, contrast, saturation and hue, as in mmsegmentation."""

from typing import NamedTuple

import cv2
import numpy as np

NUM_UNIFORMS = 9
_BRIGHTNESS = 32.0  # levels, to both sides
_FACTORS = (0.5, 1.5)  # of contrast and of saturation
_HUE = 18  # in steps of 2 degrees, to both sides; the upper end is left out


class Photometric(NamedTuple):
    """One draw; None leaves a change out.

    Attributes:
      contrast_first: Whether the contrast changes before saturation and hue, or after them.
      brightness: Levels to add.
      contrast, saturation: Factors.
      hue: Steps of 2 degrees.
    """

    contrast_first: bool
    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: int | None


def draw_photometric(uniforms: np.ndarray) -> Photometric:
    """Makes a draw from [NUM_UNIFORMS] numbers in [0, 1): each change has probability 0.5."""
    u = uniforms.tolist()
    low, high = _FACTORS
    return Photometric(
        contrast_first=u[0] >= 0.5,
        brightness=_BRIGHTNESS * (2 * u[2] - 1) if u[1] >= 0.5 else None,
        contrast=low + (high - low) * u[4] if u[3] >= 0.5 else None,
        saturation=low + (high - low) * u[6] if u[5] >= 0.5 else None,
        hue=int(u[8] * 2 * _HUE) - _HUE if u[7] >= 0.5 else None,
    )


def change_colors(image: np.ndarray, draw: Photometric) -> np.ndarray:
    """Applies a draw to [H, W, 3] uint8 RGB; each change is clipped and truncated to uint8."""
    if draw.brightness is not None:
        image = _linear(image, 1.0, draw.brightness)
    if draw.contrast is not None and draw.contrast_first:
        image = _linear(image, draw.contrast, 0.0)
    if draw.saturation is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], draw.saturation, 0.0)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if draw.hue is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + draw.hue) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if draw.contrast is not None and not draw.contrast_first:
        image = _linear(image, draw.contrast, 0.0)
    return image


def _linear(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    changed = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(changed, 0, 255).astype(np.uint8)
