"""Images with any number of labels: each class is a question of its own, scored by its AP."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.tasks.classification.task import Classification, bce_loss
from inceptionnext_jax.train.task import Batch, Sums


@dataclasses.dataclass(frozen=True)
class MultiLabel(Classification):
    """Classification with multi-hot labels [N, K]; measured by mean average precision.

    num_eval: evaluation images; their scores are kept until the last, for the precision is one of
        the whole ranking and not a mean over batches.
    """

    num_eval: int = dataclasses.field(kw_only=True)

    def metrics(self, outputs: jax.Array, batch: Batch) -> Sums:
        real = batch["mask"] > 0
        # Each image has its row, and sums fill the rows one by one; padding falls off the end.
        row = jnp.where(real, batch["index"], self.num_eval)
        label = batch["label"]
        losses = bce_loss(outputs, label.astype(outputs.dtype))
        scores = jnp.zeros((self.num_eval, outputs.shape[1]), outputs.dtype)
        labels = jnp.zeros((self.num_eval, label.shape[1]), label.dtype)
        return {
            "loss": jnp.where(real, losses, 0).sum(),
            "count": real.astype(jnp.int32).sum(),
            "scores": scores.at[row].set(outputs, mode="drop"),
            "labels": labels.at[row].set(label, mode="drop"),
        }

    def summarize(self, sums: Sums) -> tuple[dict[str, float], dict[str, Any]]:
        count = int(sums["count"])
        columns = zip(np.asarray(sums["scores"]).T, np.asarray(sums["labels"]).T, strict=True)
        per_class = [average_precision(scores, labels) for scores, labels in columns]
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
