"""Heat maps drawn as pictures."""

import numpy as np
from PIL import Image


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Enlarges maps [B, h, w] to [B, size, size] float32, bilinear between the cells' centres."""
    pictures = (Image.fromarray(np.asarray(one, np.float32)) for one in maps)
    return np.stack(
        [np.asarray(one.resize((size, size), Image.Resampling.BILINEAR)) for one in pictures]
    )


def normalised(heat: np.ndarray) -> np.ndarray:
    """Scales each of [B, S, S] so that its smallest value is 0 and its largest 1."""
    low, high = heat.min((1, 2), keepdims=True), heat.max((1, 2), keepdims=True)
    spread = high - low
    return (heat - low) / np.where(spread > 0, spread, 1)


def coloured(heat: np.ndarray, colours: str = "turbo") -> np.ndarray:
    """Colours values in [0, 1], [S, S], by a matplotlib colour map; returns [S, S, 3] uint8."""
    import matplotlib

    return np.asarray(matplotlib.colormaps[colours](heat)[..., :3] * 255, np.uint8)


def overlaid(pixels: np.ndarray, heat: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Blends a heat map [S, S] in [0, 1] with an image [S, S, 3] uint8.

    Leaves out both ends of the colour scale, which are so dark that they look alike on an image.
    """
    mixed = (1 - strength) * pixels + strength * coloured(0.08 + 0.84 * heat)
    return np.asarray(np.round(mixed), np.uint8)
