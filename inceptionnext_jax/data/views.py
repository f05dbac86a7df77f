"""Views of an image in dense evaluation: scales, mirroring, and the image whole or in windows.

A network gives each window logits at a stride. Enlarging them to the window, averaging overlapping
windows, undoing the mirroring and resizing to the image's own size are linear and separable, so
they are one matrix for the rows and one for the columns. No array of all classes exists at the
image's size, and the results equal those of the steps one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inceptionnext_jax.data.resize import (
    Size,
    require_size,
    resize_image,
    scaled_box,
    size_within,
    up_to_multiple,
)
from inceptionnext_jax.ops.bilinear import bilinear_matrix

METHODS = ("whole", "slide")
STRIDE = 4  # of the logits


class Axis(NamedTuple):
    """Windows along one axis.

    Attributes:
      window: Length of each, in pixels.
      number: Number of windows.
    """

    window: int
    number: int


ViewShape = tuple[Axis, Axis]  # rows, columns


@dataclass(frozen=True)
class Views:
    """The views of each image.

    Attributes:
      method: "whole", or "slide": windows of `crop` pixels every `stride` pixels, the last ones
        moved back into the image; where the image is shorter than a window, so is the window.
      scale: Longest long side and longest short side of the resized image, in pixels.
      crop, stride: Side of a window, and pixels from one to the next.
      scales: Factors of `scale`, a view each; 1 is among them.
      flip: Whether each view comes mirrored too.
      multiple: Both sides are resized up to a multiple of this.
      grid_offsets: Positions of the network's logits beyond a quarter of the pixels, rounded down,
        by the remainder.
    """

    method: str
    scale: Size
    crop: int
    stride: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    multiple: int = 1
    grid_offsets: tuple[int, ...] = (0, 0, 0, 0)

    def shapes(self, size: Size) -> tuple[ViewShape, ...]:
        """The shapes of the views of an image of this size: (height, width) in pixels.

        Images of equal shapes go through the same compiled program.
        """
        kinds = tuple(
            (self._axis(resized[0]), self._axis(resized[1]))
            for resized in (self._resized(size, factor) for factor in self.scales)
        )
        return tuple(shape for shape in kinds for _ in self._mirrorings)

    def grid(self, length: int) -> int:
        """Positions of the logits of a window."""
        return length // STRIDE + self.grid_offsets[length % STRIDE]

    def arrays(self, image: np.ndarray, name: str) -> dict[str, np.ndarray]:
        """Returns the views of an image [H, W, 3] uint8.

        Returns, for view i:
          "windows_i": [windows, height, width, 3] uint8, row by row.
          "rows_i": [H, windows in a column · positions] float32, the matrix for the rows.
          "columns_i": [W, windows in a row · positions] float32.
        """
        found: dict[str, np.ndarray] = {}
        height, width = image.shape[:2]
        for factor in self.scales:
            size = self._resized((height, width), factor)
            require_size(size, name)
            resized = resize_image(image, size)
            for mirrored in self._mirrorings:
                view = self.view(resized, (height, width), mirrored)
                found |= {f"{kind}_{len(found) // 3}": array for kind, array in view.items()}
        return found

    def view(self, resized: np.ndarray, original: Size, mirrored: bool) -> dict[str, np.ndarray]:
        """Returns "windows", "rows" and "columns" of one view, as in `arrays`.

        Args:
          resized: [h, w, 3] uint8, not mirrored yet.
          original: Height and width of the image before it was resized.
          mirrored: Whether the windows are of the mirrored image.
        """
        height, width = resized.shape[:2]
        rows, columns = self._axis(height), self._axis(width)
        pixels = resized[:, ::-1] if mirrored else resized
        return {
            "windows": self._windows(pixels, rows, columns),
            "rows": self._matrix(original[0], height, rows, False),
            "columns": self._matrix(original[1], width, columns, mirrored),
        }

    @property
    def plain(self) -> int:
        """Number of the view at scale 1 that is not mirrored."""
        return self.scales.index(1.0) * len(self._mirrorings)

    @property
    def _mirrorings(self) -> tuple[bool, ...]:
        return (False, True) if self.flip else (False,)

    def _resized(self, size: Size, factor: float) -> Size:
        return up_to_multiple(size_within(size, scaled_box(self.scale, factor)), self.multiple)

    def _axis(self, length: int) -> Axis:
        if self.method == "whole" or length <= self.crop:
            return Axis(length, 1)
        return Axis(self.crop, -(-(length - self.crop) // self.stride) + 1)

    def _starts(self, length: int, axis: Axis) -> list[int]:
        return [min(i * self.stride, length - axis.window) for i in range(axis.number)]

    def _windows(self, pixels: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
        tops, lefts = self._starts(pixels.shape[0], rows), self._starts(pixels.shape[1], columns)
        return np.stack([
            pixels[top : top + rows.window, left : left + columns.window]
            for top in tops
            for left in lefts
        ])  # fmt: skip

    def _matrix(self, original: int, resized: int, axis: Axis, mirrored: bool) -> np.ndarray:
        """Returns [original, windows · positions] float32."""
        enlarge = bilinear_matrix(self.grid(axis.window), axis.window)
        parts = np.zeros((resized, axis.number, enlarge.shape[1]))
        covered = np.zeros((resized, 1, 1))
        for i, start in enumerate(self._starts(resized, axis)):
            parts[start : start + axis.window, i] = enlarge
            covered[start : start + axis.window] += 1
        whole = (parts / covered).reshape(resized, -1)
        if mirrored:
            whole = whole[::-1]
        return (bilinear_matrix(resized, original) @ whole).astype(np.float32)


def canvas_of(sizes: Sequence[Size], multiple: Size) -> Size:
    """Returns the smallest size, of multiples, that holds all of these."""
    height, width = (max(lengths) for lengths in zip(*sizes, strict=True))
    return up_to_multiple((height, 1), multiple[0])[0], up_to_multiple((width, 1), multiple[1])[0]
