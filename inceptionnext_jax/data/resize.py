"""Resizing that keeps the aspect ratio, for dense tasks: sizes and pixels as OpenMMLab's."""

import cv2
import numpy as np

from inceptionnext_jax.data.decode import MAX_PIXELS, BadImageError

Size = tuple[int, int]  # height, width in pixels


def size_within(size: Size, box: Size) -> Size:
    """Returns the largest size of the same aspect that fits a box, as mmcv rounds it.

    Args:
      size: The image's.
      box: Longest long side and longest short side, such as (2048, 512), in either order.
    """
    factor = min(max(box) / max(size), min(box) / min(size))
    return int(size[0] * factor + 0.5), int(size[1] * factor + 0.5)


def scaled_box(box: Size, factor: float) -> Size:
    """Returns the box times a factor, truncated to whole pixels."""
    return int(box[0] * factor), int(box[1] * factor)


def up_to_multiple(size: Size, multiple: int) -> Size:
    """Returns the size with both sides rounded up to a multiple."""
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def require_size(size: Size, name: str) -> None:
    """Raises BadImageError for a size that no image should be resized to."""
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise BadImageError(
            f"cannot use {name}: it would become {size[1]} × {size[0]} pixels; replace or remove "
            f"this file"
        )


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes [H, W, 3] uint8 bilinearly without antialiasing, as OpenCV does."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes [H, W] int16 by taking position floor(i · in / out), as OpenCV does."""
    if labels.shape == size:
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
