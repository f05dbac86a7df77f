"""Weights of bilinear resizing."""

import numpy as np


def bilinear_matrix(before: int, after: int) -> np.ndarray:
    """Returns the [after, before] float64 weights of PyTorch's resize with align_corners=False."""
    source = np.maximum((np.arange(after) + 0.5) * before / after - 0.5, 0)
    first = np.minimum(source.astype(int), before - 1)
    second = np.minimum(first + 1, before - 1)
    rows, share = np.arange(after), source - first
    weights = np.zeros((after, before))
    weights[rows, first] += 1 - share
    weights[rows, second] += share
    return weights
