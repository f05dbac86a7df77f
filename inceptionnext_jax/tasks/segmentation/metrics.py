"""Intersection over union and accuracy from a confusion matrix, as in mmsegmentation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Scores of a whole data set, fractions in [0, 1]; nan where nothing defines one.

    Attributes:
      iou: [K], of each class: intersection over union.
      accuracy: [K], of each class: share of its pixels.
      miou, macc: Means over the classes that have a value.
      aacc: Share of all labelled pixels.
    """

    iou: np.ndarray
    accuracy: np.ndarray
    miou: float
    macc: float
    aacc: float


def scores(confusion: np.ndarray) -> Scores:
    """Returns the scores of a confusion matrix [K, K] int64, rows true, columns predicted."""
    hits = np.diag(confusion).astype(np.float64)
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    iou = _ratio(hits, labelled + predicted - hits)
    accuracy = _ratio(hits, labelled)
    return Scores(
        iou, accuracy, _mean(iou), _mean(accuracy), float(_ratio(hits.sum(), labelled.sum()))
    )


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(part, whole)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def sparse(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the cells of one image's matrix that are not 0: few classes are in one image."""
    cells = np.flatnonzero(confusion)
    return {"cells": cells.astype(np.int32), "counts": confusion.ravel()[cells].astype(np.int64)}


def total(images: Sequence[Mapping[str, np.ndarray]], classes: int) -> np.ndarray:
    """Returns the sum of matrices that `sparse` stored, [classes, classes] int64."""
    confusion = np.zeros(classes * classes, np.int64)
    for image in images:
        confusion[image["cells"]] += image["counts"]  # each cell occurs once
    return confusion.reshape(classes, classes)
