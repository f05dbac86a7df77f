"""Results of a detector in the pixels of the image as it is stored; work for the host."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inceptionnext_jax.data.instances import clipped_boxes
from inceptionnext_jax.data.paste import paste_encoded


def found_objects(
    found: Mapping[str, np.ndarray], size: np.ndarray, original: np.ndarray
) -> dict[str, Any]:
    """Returns the network's results for one image, in the pixels of the image as it is stored.

    Args:
      found: "boxes" [D, 4], "scores", "labels" and "valid" [D], and maybe "masks" [D, m, m].
      size: [2], the height and width in which the boxes are.
      original: [2], the image's own.

    Returns:
      "boxes" [N, 4], "scores" and "classes" [N] of the valid ones, and "masks", N run lengths.
    """
    valid = found["valid"]
    height, width = original.tolist()
    factor = np.float32(original[::-1] / size[::-1])
    boxes = clipped_boxes(found["boxes"][valid] * np.tile(factor, 2), (height, width))
    kept = {
        "boxes": boxes.astype(np.float32),
        "scores": found["scores"][valid].astype(np.float32),
        "classes": found["labels"][valid].astype(np.int32),
    }
    if "masks" not in found:
        return kept
    pairs = zip(found["masks"][valid], kept["boxes"], strict=True)
    return {**kept, "masks": [paste_encoded(mask, box, (height, width)) for mask, box in pairs]}
