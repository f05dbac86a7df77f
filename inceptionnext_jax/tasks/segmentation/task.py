"""Semantic segmentation: pixel-wise cross entropy, and mIoU at the labels' own size."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.label_maps import IGNORED
from inceptionnext_jax.data.views import Views
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.models.dense.label_map import label_maps
from inceptionnext_jax.models.layers.resize import resize_bilinear
from inceptionnext_jax.tasks.class_names import class_difference
from inceptionnext_jax.tasks.confusion import draw_confusion
from inceptionnext_jax.tasks.one_by_one import one_by_one
from inceptionnext_jax.tasks.segmentation import metrics
from inceptionnext_jax.tasks.segmentation.losses import PixelLoss, pixel_hits
from inceptionnext_jax.train.task import Aux, Difference, Metric
from inceptionnext_jax.types import Batch, HostBatch, Records, Sums, Variables

LOSS = Metric("loss", higher_is_better=False, format="loss {:.4f}", in_training=True)
MIOU = Metric("miou", higher_is_better=True, format="mIoU {:.4f}")
MACC = Metric("macc", higher_is_better=True)
AACC = Metric("aacc", higher_is_better=True)
# The same over several scales or mirrored views.
MULTI = tuple(Metric(f"{metric.name}_ms", True) for metric in (MIOU, MACC, AACC))


@dataclass(frozen=True)
class Segmentation:
    """The task of a network that classifies each pixel.

    Attributes:
      model: The network; its `heads` give the logits for the losses.
      mean, std: Statistics of pixels, per channel, on a scale of 0 to 1.
      views: The views of evaluation.
      crop: Pixels on a side of training images.
      class_names: One for each class of the data.
      palette: A colour for each class, to draw label maps.
      loss_fn: (logits [N, H, W, K], labels [N, H, W]) -> loss.
      aux_weight: Weight of the auxiliary head's loss.
      devices: Number that share a batch in evaluation; each computes one image at a time.
      dtype: Compute dtype, in which the network gets its images.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: Views
    crop: int
    class_names: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    loss_fn: PixelLoss
    aux_weight: float
    devices: int
    dtype: Any = jnp.float32

    metrics: ClassVar[tuple[Metric, ...]] = (MIOU, MACC, AACC, LOSS, *MULTI)
    body: ClassVar[str] = "backbone/"
    renewable: ClassVar[tuple[str, ...]] = ("decode_head/", "auxiliary_head/", "neck/", "out_norm/")

    def init(self, key: jax.Array) -> Variables:
        images = jnp.zeros((2, self.crop, self.crop, 3), jnp.float32)
        return dict(self.model.init(key, images, train=False))

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        """Normalises, and sets padding to 0 afterwards; all draws were made on the host."""
        images = normalize(batch["image"], self.mean, self.std, self.dtype)
        side = jnp.arange(self.crop)
        rows, columns = (side < batch["size"][:, i, None] for i in range(2))
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return {"image": jnp.where(inside, images, 0), "label": batch["label"]}

    def host_scalars(self, step: int) -> dict[str, float]:
        return {}

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
            method="heads",
        )
        labels = batch["label"]
        full = {name: resize_bilinear(x, labels.shape[1:]) for name, x in logits.items()}
        losses = {name: self.loss_fn(x, labels) for name, x in full.items()}
        loss = losses["decode"]
        if "auxiliary" in losses:
            loss += self.aux_weight * losses["auxiliary"]
        count = jnp.asarray(len(labels), loss.dtype)
        sums = {f"loss_{name}": (count * value, count) for name, value in losses.items()}
        sums |= {"loss": (count * loss, count), "acc": pixel_hits(full["decode"], labels)}
        return loss, Aux(updates.get("batch_stats", {}), sums)

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        """Counts the pixels of each pair of classes, image by image."""
        confusion = lambda rows: {"confusion": self._confusion(variables, rows)}  # noqa: E731
        return {}, one_by_one(confusion, batch, self.devices)

    def predict(
        self, variables: Variables, arrays: Batch, size: jax.Array, canvas: tuple[int, int]
    ) -> jax.Array:
        """Label maps [D, M, *canvas] int16 of one image for each device, as in `label_maps`."""

        def forward(windows: jax.Array) -> jax.Array:
            images = normalize(windows, self.mean, self.std, self.dtype)
            return self.model.apply(variables, images, train=False)  # type: ignore[return-value]

        return label_maps(forward, arrays, size, canvas, self.views.plain)

    def _confusion(self, variables: Variables, batch: Batch) -> jax.Array:
        """Matrices [D, M, K, K] int32 of one image for each device, rows true."""
        labels, classes = batch["label"].astype(jnp.int32), len(self.class_names)
        canvas = (labels.shape[1], labels.shape[2])
        views = {n: a for n, a in batch.items() if n not in ("label", "size", "mask", "index")}
        found = self.predict(variables, views, batch["size"], canvas)
        cells = jnp.where(labels == IGNORED, classes, labels)[:, None] * classes + found

        def count(cells: jax.Array) -> jax.Array:
            zeros = jnp.zeros(classes * classes, jnp.int32)  # ignored pixels lie beyond its end
            return zeros.at[cells.ravel()].add(1, mode="drop").reshape(classes, classes)

        return jax.vmap(jax.vmap(count))(cells)

    def collect(self, records: Records, batch: HostBatch) -> list[Any]:
        return [
            {str(i): metrics.sparse(matrix) for i, matrix in enumerate(matrices)}
            for matrices in records["confusion"]
        ]

    def report(self, sums: Sums, kept: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
        classes = len(self.class_names)
        confusion = metrics.total([image["0"] for image in kept], classes)
        plain = metrics.scores(confusion)
        scalars = {"miou": plain.miou, "macc": plain.macc, "aacc": plain.aacc}
        if kept and "1" in kept[0]:
            several = metrics.scores(metrics.total([image["1"] for image in kept], classes))
            scalars |= {"miou_ms": several.miou, "macc_ms": several.macc, "aacc_ms": several.aacc}
        scalars["count"] = len(kept)
        per_class = {
            name: {
                "iou": _or_none(plain.iou[i]),
                "accuracy": _or_none(plain.accuracy[i]),
                "pixels": int(confusion[i].sum()),
            }
            for i, name in enumerate(self.class_names)
        }
        report = {**scalars, "per_class": per_class, "confusion_matrix": confusion.tolist()}
        return scalars, report

    def save_report(self, report: dict[str, Any], folder: Path) -> None:
        """Writes eval.json, per_class.csv and confusion.png; the latter two of the weights."""
        write_atomically(folder / "eval.json", json.dumps(report, indent=1))
        first = report["eval"]
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("class", "iou", "accuracy", "pixels"))
        for name, row in first["per_class"].items():
            rows.writerow((name, *("" if value is None else value for value in row.values())))
        write_atomically(folder / "per_class.csv", table.getvalue())
        matrix = np.asarray(first["confusion_matrix"])
        title = f"mIoU {first['miou']:.4f}, accuracy {first['aacc']:.4f} of {matrix.sum():,} pixels"
        draw_confusion(matrix, list(first["per_class"]), folder / "confusion.png", title, False)

    def metadata(self) -> dict[str, Any]:
        views = self.views
        return {
            "class_names": list(self.class_names),
            "palette": [list(color) for color in self.palette],
            "preprocessing": {
                "image_size": self.crop,
                "mean": list(self.mean),
                "std": list(self.std),
                "resize": list(views.scale),
                "method": views.method,
                "crop": views.crop,
                "stride": views.stride,
                "multiple": views.multiple,
            },
        }

    def difference(self, metadata: Mapping[str, Any]) -> Difference | None:
        return class_difference(self.class_names, metadata)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
