"""Random crops of images with label maps, in which no class covers nearly everything."""

import numpy as np

from inceptionnext_jax.data.label_maps import IGNORED

TRIES = 11
NUM_UNIFORMS = 2 * TRIES

Box = tuple[int, int, int, int]  # top, left, height, width in pixels


def choose_crop(
    labels: np.ndarray, uniforms: np.ndarray, crop: tuple[int, int], cat_max_ratio: float
) -> Box:
    """Chooses a window of up to `crop` pixels, placed uniformly, as mmsegmentation does.

    The first of ten draws counts in which there are several classes and none has `cat_max_ratio`
    or more of the labelled pixels; if there is none, the eleventh counts as it is.

    Args:
      labels: [H, W] integers, IGNORED where there is no label.
      uniforms: [NUM_UNIFORMS] float64 in [0, 1).
      crop: Height and width in pixels; a smaller image keeps its size.
      cat_max_ratio: 1 takes the first draw.
    """
    height, width = min(crop[0], labels.shape[0]), min(crop[1], labels.shape[1])
    spare_h, spare_w = labels.shape[0] - height, labels.shape[1] - width
    for attempt in range(TRIES):
        u, v = uniforms[2 * attempt : 2 * attempt + 2].tolist()
        top, left = int(u * (spare_h + 1)), int(v * (spare_w + 1))
        window = labels[top : top + height, left : left + width]
        if cat_max_ratio >= 1 or _is_varied(window, cat_max_ratio):
            break
    return top, left, height, width


def _is_varied(labels: np.ndarray, cat_max_ratio: float) -> bool:
    counts = np.bincount(labels[labels != IGNORED].ravel())
    return bool(np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < cat_max_ratio)
