"""Images with any number of labels: each class is a question of its own, scored by its AP."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.tasks.classification.losses import bce_loss
from inceptionnext_jax.tasks.classification.task import LOSS, Classification
from inceptionnext_jax.train.task import Metric
from inceptionnext_jax.types import Batch, HostBatch, Records, Sums, Variables

MAP = Metric("map", higher_is_better=True, format="mAP {:.4f}")


@dataclasses.dataclass(frozen=True)
class MultiLabel(Classification):
    """Classification with multi-hot labels [N, K]; measured by mean average precision.

    The precision is that of the whole ranking and not a mean over batches, so the scores of all
    examples are kept until the last.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (MAP, LOSS)

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        logits, label = self.predict(variables, batch), batch["label"]
        shown = batch["mask"] > 0
        losses = bce_loss(logits, label.astype(logits.dtype))
        sums = {
            "loss": jnp.where(shown, losses, 0).sum(),
            "count": shown.astype(jnp.int32).sum(),
        }
        return sums, {"scores": logits}

    def collect(self, records: Records, batch: HostBatch) -> list[Any]:
        return [
            {"scores": scores, "labels": labels}
            for scores, labels in zip(records["scores"], batch["label"], strict=True)
        ]

    def report(self, sums: Sums, kept: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
        count = int(sums["count"])
        empty = np.zeros((len(self.class_names), 0))
        scores = np.stack([item["scores"] for item in kept], axis=1) if kept else empty
        labels = np.stack([item["labels"] for item in kept], axis=1) if kept else empty
        per_class = [average_precision(*column) for column in zip(scores, labels, strict=True)]
        known = [value for value in per_class if value is not None]
        scalars: dict[str, float] = {
            "loss": float(sums["loss"]) / max(count, 1),
            "map": float(np.mean(known)) if known else 0.0,
            "count": count,
        }
        names = dict(zip(self._names(len(per_class)), per_class, strict=True))
        return scalars, {**scalars, "per_class_ap": names}


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over the positives of the precision at their rank; None without positives.

    As in scikit-learn (no interpolation): images of equal score share the last one's rank.

    scores: [N] float. labels: [N], 0 or 1.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order], dtype=np.int64)
    if not len(hits) or not hits[-1]:
        return None
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(hits[last], prepend=0) * precision) / hits[-1])
