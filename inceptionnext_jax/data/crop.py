"""Crops to [S, S, 3] pixels: random-resized for training, centred for evaluation.

Resampling is Pillow's: antialiased, and the one behind the published accuracies. Cropping an array
view before passing it to Pillow was the fastest exact way tried; the others were the whole image
with `box=`, which also differs at the borders, and 4-channel buffers without a copy.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inceptionnext_jax.data.decode import MAX_PIXELS, BadImageError, decode_pil, decode_rgb
from inceptionnext_jax.errors import UserError, suggestion

TRIES = 10
NUM_UNIFORMS = 2 + 4 * TRIES  # flip, interpolation, then four numbers per try

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
Box = tuple[int, int, int, int]  # top, left, height, width in pixels


def check_interpolation(name: str, *, allow_random: bool) -> None:
    """Raises UserError for an unknown interpolation."""
    choices = [*_RESAMPLING, *(["random"] if allow_random else [])]
    if name not in choices:
        raise UserError(
            f"interpolation {name!r} is not one of {', '.join(choices)}{suggestion(name, choices)}"
        )


def random_box(
    uniforms: np.ndarray,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Chooses the box of a random-resized crop, as torchvision and timm do.

    Up to ten tries draw an area (a fraction in `scale`) and a log-uniform aspect ratio (width over
    height, in `ratio`); the first box that fits is placed uniformly. If none fits, the box is the
    largest centred one whose aspect lies in `ratio`.

    uniforms: [4 * TRIES] float64 in [0, 1).
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for i in range(TRIES):
        area_u, aspect_u, top_u, left_u = uniforms[4 * i : 4 * i + 4]
        area = (scale[0] + (scale[1] - scale[0]) * area_u) * height * width
        aspect = math.exp(low + (high - low) * aspect_u)
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(top_u * (height - h + 1))
            left = int(left_u * (width - w + 1))
            return top, left, h, w
    return _fallback_box(height, width, ratio)


def _fallback_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    h, w = height, width
    if width / height < ratio[0]:
        h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(height * ratio[1]))
    return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class RandomResizedCrop:
    """Decodes, crops at random, resizes and perhaps mirrors a training image.

    Attributes:
      size: Pixels on a side of the result.
      scale: Range of the crop's share of the image's area.
      ratio: Range of its width over height.
      hflip: Probability of mirroring.
      interpolation: bicubic, bilinear, or random (either with probability one half).
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    interpolation: str = "random"

    def __post_init__(self) -> None:
        """Raises UserError for an unknown interpolation."""
        check_interpolation(self.interpolation, allow_random=True)

    def __call__(
        self, image: bytes | np.ndarray, uniforms: np.ndarray, name: str = "image"
    ) -> np.ndarray:
        """Returns [size, size, 3] uint8, perhaps a view with a negative stride.

        uniforms: [NUM_UNIFORMS] float64 in [0, 1), the only source of randomness.
        """
        pixels = decode_rgb(image, name)
        height, width = pixels.shape[:2]
        top, left, h, w = random_box(uniforms[2:], height, width, self.scale, self.ratio)
        interpolation = self.interpolation
        if interpolation == "random":
            interpolation = "bilinear" if uniforms[1] < 0.5 else "bicubic"
        crop = Image.fromarray(pixels[top : top + h, left : left + w])
        out = np.asarray(crop.resize((self.size, self.size), _RESAMPLING[interpolation]))
        return out[:, ::-1] if uniforms[0] < self.hflip else out


@dataclass(frozen=True)
class CenterCrop:
    """Evaluation: resizes the shorter side to floor(size / crop_pct) and cuts the centre.

    As torchvision does. An image smaller than the crop afterwards (crop_pct > 1) is padded with
    zeros.

    Attributes:
      size: Pixels on a side of the result.
      crop_pct: Side of the crop over the resized shorter side.
      interpolation: bicubic or bilinear.
    """

    size: int
    crop_pct: float
    interpolation: str

    def __post_init__(self) -> None:
        """Raises UserError for an unknown interpolation."""
        check_interpolation(self.interpolation, allow_random=False)

    def __call__(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Returns [size, size, 3] uint8.

        Raises BadImageError also for an image so elongated that resizing it would take more
        than MAX_PIXELS.
        """
        picture = decode_pil(image, name)
        short = math.floor(self.size / self.crop_pct)
        width, height = picture.size
        if width <= height:
            width, height = short, int(short * height / width)
        else:
            width, height = int(short * width / height), short
        if width * height > MAX_PIXELS:
            raise BadImageError(
                f"cannot use {name}: its {picture.size[0]} × {picture.size[1]} pixels would become "
                f"{width} × {height}; replace or remove this file"
            )
        if (width, height) != picture.size:
            picture = picture.resize((width, height), _RESAMPLING[self.interpolation])
        return _centre(np.asarray(picture), self.size)


def _centre(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if height < size or width < size:
        pad_h, pad_w = max(size - height, 0), max(size - width, 0)
        before_h, before_w = pad_h // 2, pad_w // 2  # the odd row goes below, the column right
        pixels = np.pad(
            pixels, ((before_h, pad_h - before_h), (before_w, pad_w - before_w), (0, 0))
        )
        height, width = pixels.shape[:2]
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return pixels[top : top + size, left : left + size]
