"""Image classification: soft-target cross entropy, top-1 and top-5, confusion matrix."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.tasks.classification.confusion import draw_confusion
from inceptionnext_jax.train.plan import Plan
from inceptionnext_jax.train.task import Batch, Sums

LARGEST_CONFUSION = 2000  # classes: 16 MB on the device


@dataclass(frozen=True)
class Classification:
    """The task of a classifier `model` on images of `image_size` pixels.

    augment_fn: (key, batch, positions) -> {"image": normalised [N, H, W, 3], "target": [N, K]}.
    normalize: uint8 [N, H, W, 3] -> normalised compute dtype.
    loss_fn: (logits [N, K], targets [N, K]) -> [N] losses.
    slope: completed epochs -> slope of the model's activations; None leaves it to the variables.
    """

    model: nn.Module
    image_size: int
    class_names: Sequence[str]
    augment_fn: Callable[[jax.Array, Batch, jax.Array], Batch]
    normalize: Callable[[jax.Array], jax.Array]
    loss_fn: Callable[[jax.Array, jax.Array], jax.Array]
    slope: Callable[[int], float] | None = None

    def init(self, key: jax.Array) -> dict[str, Any]:
        # Two images: BatchNorm's statistics must be defined, and nothing depends on how many.
        images = jnp.zeros((2, self.image_size, self.image_size, 3), jnp.float32)
        return dict(self.model.init(key, images, train=False))

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        return self.augment_fn(key, batch, positions)

    def hyper(self, step: int, plan: Plan) -> dict[str, float]:
        if self.slope is None:
            return {}
        return {"slope": self.slope(step // plan.steps_per_epoch)}

    def loss(
        self,
        params: Any,
        batch_stats: Any,
        batch: Batch,
        key: jax.Array,
        positions: jax.Array,
        hyper: dict[str, Any],
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        logits, updates = self.model.apply(
            {"params": params, "batch_stats": batch_stats},
            batch["image"],
            train=True,
            positions=positions,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        losses = self.loss_fn(logits, batch["target"])
        count = jnp.asarray(losses.shape[0], losses.dtype)
        sums = {"loss": (losses.sum(), count)}
        return losses.mean(), (updates.get("batch_stats", {}), sums)

    def predict(self, variables: dict[str, Any], batch: Batch) -> Any:
        return self.model.apply(variables, self.normalize(batch["image"]), train=False)

    def metrics(self, outputs: jax.Array, batch: Batch) -> Sums:
        mask = batch["mask"].astype(jnp.int32)
        label, num_classes = batch["label"], outputs.shape[-1]
        best = jax.lax.top_k(outputs, min(5, num_classes))[1]
        hits = (best == label[:, None]) & (mask[:, None] > 0)
        log_probs = jax.nn.log_softmax(outputs)
        losses = -jnp.take_along_axis(log_probs, label[:, None], axis=1)[:, 0]
        zeros = jnp.zeros(num_classes, jnp.int32)
        sums = {
            "top1": hits[:, 0].sum(),
            "top5": hits.sum(),
            "loss": jnp.where(mask > 0, losses, 0).sum(),
            "count": mask.sum(),
            "class_hits": zeros.at[label].add(hits[:, 0].astype(jnp.int32)),
            "class_count": zeros.at[label].add(mask),
        }
        if num_classes <= LARGEST_CONFUSION:
            confusion = jnp.zeros((num_classes, num_classes), jnp.int32)
            sums["confusion"] = confusion.at[label, best[:, 0]].add(mask)
        return sums

    def summarize(self, sums: Sums) -> tuple[dict[str, float], dict[str, Any]]:
        count = int(sums["count"])
        scalars: dict[str, float] = {
            name: float(sums[name]) / max(count, 1) for name in ("loss", "top1", "top5")
        }
        scalars["count"] = count
        hits, of_class = sums["class_hits"], sums["class_count"]
        per_class = {
            name: (float(hits[i] / of_class[i]) if of_class[i] else None)
            for i, name in enumerate(self._names(len(hits)))
        }
        report = {**scalars, "per_class_accuracy": per_class}
        if "confusion" in sums:  # rows: true class; columns: predicted class
            report["confusion_matrix"] = np.asarray(sums["confusion"]).tolist()
        return scalars, report

    def _names(self, count: int) -> list[str]:
        extra = [str(index) for index in range(len(self.class_names), count)]
        return [*self.class_names, *extra]

    def save_report(self, report: dict[str, Any], workdir: Path) -> None:
        """Writes eval.json, and confusion.png of the weights themselves (not their averages)."""
        write_atomically(workdir / "eval.json", json.dumps(report, indent=1))
        first = report["eval"]
        if "confusion_matrix" in first:
            matrix, names = np.asarray(first["confusion_matrix"]), list(first["per_class_accuracy"])
            draw_confusion(matrix, names, workdir / "confusion.png")


def softmax_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross entropy against soft targets. [N, K], [N, K] -> [N]."""
    return -(targets * jax.nn.log_softmax(logits)).sum(axis=-1)


def bce_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy against soft targets, mean over classes as in timm. -> [N]."""
    terms = targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits)
    return -terms.mean(axis=-1)


LOSSES = {"softmax": softmax_loss, "bce": bce_loss}
