"""The preparation of images for a network, by the kind of its task."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.data.aspect_order import canvas_numbers
from inceptionnext_jax.data.crop import CenterCrop
from inceptionnext_jax.data.decode import MAX_PIXELS, BadImageError, decode_pil
from inceptionnext_jax.data.detection_augment import Plan, augment_image, plain_plan
from inceptionnext_jax.data.resize import Size
from inceptionnext_jax.data.views import METHODS, Views
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import ModelInfo
from inceptionnext_jax.pretrained.fields import (
    LARGEST,
    changed,
    require_image,
    require_pair,
    require_pixels,
    set_channels,
)

CANVAS_MULTIPLE = 32  # pixels
Channels = tuple[float, float, float]


class AnyPreprocessing(Protocol):
    """The preparation of images, as far as all networks have it in common.

    Attributes:
      image_size: Pixels on a side of square images.
      mean: Per channel, on a scale of 0 to 1.
      std: Per channel, on the same scale.
    """

    @property
    def image_size(self) -> int: ...

    @property
    def mean(self) -> Channels: ...

    @property
    def std(self) -> Channels: ...

    @classmethod
    def of(cls, info: ModelInfo, given: Mapping[str, Any] | None = None) -> Self:
        """Returns a published model's preprocessing, changed by the fields in `given`."""

    def fields(self) -> dict[str, Any]:
        """Returns all fields but the image size, for JSON; `of` reads them."""

    def pixels(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Makes one image, an encoded file or [H, W, 3] uint8, square.

        Returns [image_size, image_size, 3] uint8; raises UserError if it is not an image.
        """

    def steps(self) -> list[str]:
        """Returns what another program has to do with an image, up to uint8 pixels."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Evaluation's preprocessing for classifiers: resize, centre crop, normalisation.

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
    mean: Channels
    std: Channels

    def __post_init__(self) -> None:
        """Raises UserError for values outside their range."""
        require_pixels("image_size", self.image_size)
        if not is_number(self.crop_pct) or not 0.01 < self.crop_pct <= 100:
            raise UserError(f"crop_pct={self.crop_pct!r} is not a number in (0.01, 100]")
        self.center_crop  # noqa: B018 (checks the interpolation)
        set_channels(self)

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
        return cls(**changed(published, given))

    def fields(self) -> dict[str, Any]:
        """Returns timm's keys, for JSON."""
        return {
            "crop_pct": self.crop_pct,
            "crop_mode": "center",
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @property
    def center_crop(self) -> CenterCrop:
        """The evaluation transform of images, for training runs, `predict`, exports and CAMs."""
        return CenterCrop(self.image_size, self.crop_pct, self.interpolation)

    def pixels(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Decodes, resizes and crops one image, an encoded file or [H, W, 3] uint8.

        Returns [image_size, image_size, 3] uint8; raises UserError if it is not an image.
        """
        require_image(image, name)
        return self.center_crop(image, name)

    def steps(self) -> list[str]:
        """Returns what another program has to do with an image, up to uint8 pixels."""
        side = self.image_size
        return [
            f"Resize the short side to {int(side / self.crop_pct)} pixels, {self.interpolation} "
            f"and antialiased (Pillow's `resize`).",
            f"Cut the centre, {side} × {side} pixels, RGB.",
        ]


@dataclasses.dataclass(frozen=True)
class DensePreprocessing:
    """Evaluation's preprocessing for networks of segmentation: resize, windows, normalisation.

    Attributes:
      image_size: Pixels on a side of the crops in training.
      mean: Per channel, on a scale of 0 to 1.
      std: Per channel, on the same scale.
      resize: Longest long side and longest short side of the resized image, in pixels.
      method: "whole", or "slide": windows.
      crop: Pixels on a side of a window.
      stride: Pixels from window to window.
      multiple: Both sides are resized up to a multiple of this.
    """

    image_size: int
    mean: Channels
    std: Channels
    resize: Size
    method: str
    crop: int
    stride: int
    multiple: int

    def __post_init__(self) -> None:
        """Raises UserError for values outside their range."""
        for name in ("image_size", "crop", "stride", "multiple"):
            require_pixels(name, getattr(self, name))
        require_pair("resize", self.resize)
        if self.method not in METHODS:
            raise UserError(f"method={self.method!r} is not one of {', '.join(METHODS)}")
        if self.stride > self.crop:
            raise UserError(f"stride={self.stride} leaves gaps between windows of {self.crop}")
        object.__setattr__(self, "resize", tuple(self.resize))
        set_channels(self)

    @classmethod
    def of(cls, info: ModelInfo, given: Mapping[str, Any] | None = None) -> "DensePreprocessing":
        """Returns the papers' preprocessing, changed by the fields in `given`.

        At 512 pixels: the image within 2048 × 512 pixels, windows of 512 pixels every 341. Another
        `image_size` scales these.
        """
        side = (given or {}).get("image_size", info.input_size)
        require_pixels("image_size", side)
        published = {
            "image_size": side,
            "mean": info.mean,
            "std": info.std,
            "resize": (min(4 * side, LARGEST), side),
            "method": "slide",
            "crop": side,
            "stride": max(1, side * 2 // 3),
            "multiple": 1,
        }
        return cls(**changed(published, given))

    def fields(self) -> dict[str, Any]:
        """Returns all fields but the image size, for JSON; `of` reads them."""
        fields = dataclasses.asdict(self)
        del fields["image_size"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    def views(self, grid_offsets: tuple[int, ...]) -> Views:
        """Returns the one view of evaluation; `grid_offsets` are those of the network."""
        return Views(
            method=self.method,
            scale=self.resize,
            crop=self.crop,
            stride=self.stride,
            multiple=self.multiple,
            grid_offsets=grid_offsets,
        )

    def decoded(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Decodes one image, an encoded file or [H, W, 3] uint8, at its own size.

        Returns [H, W, 3] uint8.

        Raises:
          UserError: It is not an image, or its windows have more pixels than any image.
        """
        require_image(image, name)
        pixels = np.asarray(decode_pil(image, name))
        ((rows, columns),) = self.views((0, 0, 0, 0)).shapes(pixels.shape[:2])
        count = rows.number * rows.window * columns.number * columns.window
        if count > MAX_PIXELS:
            raise BadImageError(
                f"cannot use {name}: {rows.number * columns.number:,} windows of {rows.window} × "
                f"{columns.window} pixels would be needed; replace or remove this file"
            )
        return pixels

    def pixels(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Makes one image square, for tools that compare images of one size.

        Its short side is resized to `image_size`, and its centre is cut out.

        Returns [image_size, image_size, 3] uint8; raises UserError if it is not an image.
        """
        require_image(image, name)
        return CenterCrop(self.image_size, 1.0, "bilinear")(image, name)

    def steps(self) -> list[str]:
        """Returns what another program has to do with an image, up to uint8 pixels."""
        long, short = max(self.resize), min(self.resize)
        side = self.image_size
        step = self.stride if self.method == "slide" and self.crop == side else side * 2 // 3
        return [
            f"Resize the image, RGB, with its own aspect ratio so that it just fits in {long} × "
            f"{short} pixels, in either orientation; bilinear without antialiasing (OpenCV's "
            f"`INTER_LINEAR`).",
            f"Cut windows of {side} × {side} pixels every {step} pixels, the last ones moved back "
            f"into the image. Where the image is shorter than a window, pad it.",
        ]


@dataclasses.dataclass(frozen=True)
class DetectionPreprocessing:
    """Evaluation's preprocessing for detectors: resize, padding, normalisation.

    Attributes:
      image_size: Pixels on a side of square images, for tools that compare images of one size.
      mean: Per channel, on a scale of 0 to 1.
      std: Per channel, on the same scale.
      resize: Longest long side and longest short side of the resized image, in pixels.
      canvases: Heights and widths to which images are padded; each needs a compilation.
    """

    image_size: int
    mean: Channels
    std: Channels
    resize: Size
    canvases: tuple[Size, ...]

    def __post_init__(self) -> None:
        """Raises UserError for values outside their range."""
        require_pixels("image_size", self.image_size)
        require_pair("resize", self.resize)
        if not isinstance(self.canvases, tuple | list) or not self.canvases:
            raise UserError(f"canvases={self.canvases!r} are not pairs of numbers of pixels")
        for canvas in self.canvases:
            require_pair("canvases", canvas)
            if any(side % CANVAS_MULTIPLE for side in canvas):
                raise UserError(
                    f"canvases={self.canvases!r} are not multiples of {CANVAS_MULTIPLE} pixels"
                )
        object.__setattr__(self, "resize", tuple(self.resize))
        object.__setattr__(self, "canvases", tuple(map(tuple, self.canvases)))
        set_channels(self)

    @classmethod
    def of(cls, info: ModelInfo, given: Mapping[str, Any] | None = None) -> Self:
        """Returns the papers' preprocessing, changed by the fields in `given`.

        An image within 1333 × 800 pixels, on a canvas of 1344 × 800 in either orientation.
        """
        resize = (given or {}).get("resize", (1333, 800))
        require_pair("resize", resize)
        published = {
            "image_size": min(resize),
            "mean": info.mean,
            "std": info.std,
            "resize": resize,
            "canvases": ((800, 1344), (1344, 800)),
        }
        return cls(**changed(published, given))

    def fields(self) -> dict[str, Any]:
        """Returns all fields but the image size, for JSON; `of` reads them."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": list(self.resize),
            "canvases": [list(canvas) for canvas in self.canvases],
        }

    def plan(self, size: Size) -> tuple[Plan, Size]:
        """Returns what happens to an image of this height and width, and its canvas."""
        (number,) = canvas_numbers(np.array([size]), self.resize, self.canvases)
        canvas = self.canvases[number]
        return plain_plan(size, self.resize, canvas), canvas

    def decoded(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Decodes one image, an encoded file or [H, W, 3] uint8, at its own size.

        Returns [H, W, 3] uint8; raises UserError if it is not an image.
        """
        require_image(image, name)
        return np.asarray(decode_pil(image, name))

    def padded(self, image: np.ndarray) -> tuple[np.ndarray, Plan]:
        """Resizes an image, [H, W, 3] uint8, and pads it with 0 below and on the right.

        Returns ([*canvas, 3] uint8, the change of its size).
        """
        plan, canvas = self.plan((image.shape[0], image.shape[1]))
        found = np.zeros((*canvas, 3), np.uint8)
        found[: plan.final[0], : plan.final[1]] = augment_image(plan, image)
        return found, plan

    def pixels(self, image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
        """Makes one image square, for tools that compare images of one size.

        Its short side is resized to `image_size`, and its centre is cut out.

        Returns [image_size, image_size, 3] uint8; raises UserError if it is not an image.
        """
        require_image(image, name)
        return CenterCrop(self.image_size, 1.0, "bilinear")(image, name)

    def steps(self) -> list[str]:
        """Returns what another program has to do with an image, up to uint8 pixels."""
        long, short = max(self.resize), min(self.resize)
        canvases = " or ".join(f"{height} × {width}" for height, width in self.canvases)
        return [
            f"Resize the image, RGB, with its own aspect ratio so that it just fits in {long} × "
            f"{short} pixels, in either orientation, and in the input; bilinear without "
            f"antialiasing (OpenCV's `INTER_LINEAR`).",
            f"Put it at the top left of an array of {canvases} pixels (height × width).",
        ]


_KINDS: dict[str, type[AnyPreprocessing]] = {
    "classification": Preprocessing,
    "segmentation": DensePreprocessing,
    "detection": DetectionPreprocessing,
}


def preprocessing_of(info: ModelInfo, given: Mapping[str, Any] | None = None) -> AnyPreprocessing:
    """Returns the preprocessing of a model's kind, changed by the fields in `given`.

    Raises:
      UserError: A field is outside its range.
    """
    return _KINDS[info.task].of(info, given)
