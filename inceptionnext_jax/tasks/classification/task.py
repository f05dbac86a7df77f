"""Image classification: soft-target cross entropy, top-1 and top-5, confusion matrix."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.pretrained.preprocessing import Preprocessing
from inceptionnext_jax.tasks.class_names import class_difference
from inceptionnext_jax.tasks.confusion import draw_confusion
from inceptionnext_jax.train.task import Aux, Difference, Metric
from inceptionnext_jax.types import Batch, HostBatch, Records, Sums, Variables

LARGEST_CONFUSION = 2000  # classes: 16 MB on the device
LOSS = Metric("loss", higher_is_better=False, format="loss {:.4f}", in_training=True)
TOP1 = Metric("top1", higher_is_better=True, format="top-1 {:.4f}")
TOP5 = Metric("top5", higher_is_better=True)


@dataclass(frozen=True)
class Classification:
    """The task of a classifier.

    Attributes:
      model: The network.
      preprocessing: The evaluation path; training has its image size too.
      class_names: One for each class of the data.
      augment_fn: (key, batch, positions) -> {"image": normalised [N, H, W, 3],
        "target": [N, K]}.
      loss_fn: (logits [N, K], targets [N, K]) -> [N] losses.
      slope: Completed updates -> slope of the model's activations; None leaves it to the variables.
      dtype: Compute dtype, in which the network gets its images.
    """

    model: nn.Module
    preprocessing: Preprocessing
    class_names: Sequence[str]
    augment_fn: Callable[[jax.Array, Batch, jax.Array], Batch]
    loss_fn: Callable[[jax.Array, jax.Array], jax.Array]
    slope: Callable[[int], float] | None = None
    dtype: Any = jnp.float32

    metrics: ClassVar[tuple[Metric, ...]] = (TOP1, TOP5, LOSS)
    body: ClassVar[str] = ""
    renewable: ClassVar[tuple[str, ...]] = ("head/",)

    def init(self, key: jax.Array) -> Variables:
        # Two images: BatchNorm's statistics must be defined, and nothing depends on how many.
        size = self.preprocessing.image_size
        return dict(self.model.init(key, jnp.zeros((2, size, size, 3), jnp.float32), train=False))

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        return self.augment_fn(key, batch, positions)

    def host_scalars(self, step: int) -> dict[str, float]:
        return {} if self.slope is None else {"slope": self.slope(step)}

    def loss(
        self, variables: Variables, batch: Batch, key: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, Aux]:
        logits, updates = self.model.apply(
            variables,
            batch["image"],
            train=True,
            positions=positions,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        losses = self.loss_fn(logits, batch["target"])
        count = jnp.asarray(losses.shape[0], losses.dtype)
        sums = {"loss": (losses.sum(), count)}
        return losses.mean(), Aux(updates.get("batch_stats", {}), sums)

    def predict(self, variables: Variables, batch: Batch) -> jax.Array:
        """Logits [N, K] of an evaluation batch."""
        before = self.preprocessing
        images = normalize(batch["image"], before.mean, before.std, self.dtype)
        return self.model.apply(variables, images, train=False)  # type: ignore[return-value]

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        logits = self.predict(variables, batch)
        mask = batch["mask"].astype(jnp.int32)
        label, num_classes = batch["label"], logits.shape[-1]
        best = jax.lax.top_k(logits, min(5, num_classes))[1]
        hits = (best == label[:, None]) & (mask[:, None] > 0)
        log_probs = jax.nn.log_softmax(logits)
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
        return sums, {}

    def collect(self, records: Records, batch: HostBatch) -> list[Any]:
        return []

    def report(self, sums: Sums, kept: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
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

    def save_report(self, report: dict[str, Any], folder: Path) -> None:
        """Writes eval.json, and confusion.png of the weights themselves (not their averages)."""
        write_atomically(folder / "eval.json", json.dumps(report, indent=1))
        first = report["eval"]
        if "confusion_matrix" in first:
            matrix, names = np.asarray(first["confusion_matrix"]), list(first["per_class_accuracy"])
            accuracy = np.trace(matrix) / max(matrix.sum(), 1)
            title = f"top-1 {accuracy:.4f} of {matrix.sum():,} images"
            draw_confusion(matrix, names, folder / "confusion.png", title)

    def metadata(self) -> dict[str, Any]:
        before = self.preprocessing
        return {
            "class_names": list(self.class_names),
            "preprocessing": {
                "image_size": before.image_size,
                "crop_pct": before.crop_pct,
                "interpolation": before.interpolation,
                "mean": list(before.mean),
                "std": list(before.std),
            },
        }

    def difference(self, metadata: Mapping[str, Any]) -> Difference | None:
        return class_difference(self.class_names, metadata)
