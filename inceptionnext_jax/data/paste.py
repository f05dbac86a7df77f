"""From a mask head's probabilities to the pixels of an image, on the host."""

import numpy as np

from inceptionnext_jax.data.instance_masks import encode


def paste(
    probabilities: np.ndarray, box: np.ndarray, size: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Returns the mask [height, width] bool of an object in an image of this size.

    Args:
      probabilities: [m, m], the head's, which cover `box`.
      box: [4], (x1, y1, x2, y2) in pixels of the image.
      size: Height and width of the image.
      threshold: Smallest probability of a pixel of the object.
    """
    part, (top, left) = _paste_part(probabilities, box, size)
    mask = np.zeros(size, bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part >= threshold
    return mask


def paste_encoded(
    probabilities: np.ndarray, box: np.ndarray, size: tuple[int, int], threshold: float = 0.5
) -> bytes:
    """Returns `paste`'s mask in COCO's compressed run lengths."""
    return encode(paste(probabilities, box, size, threshold))


def _paste_part(
    probabilities: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns probabilities of the pixels around a box, and the first row and column of these."""
    x1, y1, x2, y2 = np.asarray(box, np.float32)
    top, rows = _interpolation(y1, y2, size[0], probabilities.shape[0])
    left, columns = _interpolation(x1, x2, size[1], probabilities.shape[1])
    return rows @ np.asarray(probabilities, np.float32) @ columns.T, (top, left)


def _interpolation(start: float, stop: float, length: int, cells: int) -> tuple[int, np.ndarray]:
    """Returns the first pixel around a side of a box, and the weights [pixels, cells] of cells.

    A pixel's centre is at + 0.5; between the centres of cells values are linear, and they fall to
    0 within half a cell outside of the box. Pixels from one before to one after the box count,
    which is all that may reach a half.
    """
    first = max(int(np.floor(start)) - 1, 0)
    last = min(int(np.ceil(stop)) + 1, length)
    pixels = np.arange(first, max(last, first), dtype=np.float32)
    side = stop - start
    if not side > 0:
        return first, np.zeros((len(pixels), cells), np.float32)
    place = (pixels + 0.5 - start) / side * cells - 0.5
    distance = np.abs(place[:, None] - np.arange(cells, dtype=np.float32))
    return first, np.maximum(1 - distance, 0).astype(np.float32)
