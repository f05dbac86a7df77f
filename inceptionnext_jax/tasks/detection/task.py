"""Object detection: the detector's own losses, and average precision in the images' own pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.found import found_objects
from inceptionnext_jax.data.instances import InstanceSource
from inceptionnext_jax.data.resize import Size
from inceptionnext_jax.models.dense.detector import best_of_classes
from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.tasks.class_names import class_difference
from inceptionnext_jax.tasks.detection import report as reports
from inceptionnext_jax.tasks.detection.ap import STATS
from inceptionnext_jax.tasks.detection.transform import View, view_names
from inceptionnext_jax.tasks.one_by_one import one_by_one
from inceptionnext_jax.train.task import Aux, Difference, Metric
from inceptionnext_jax.types import Batch, HostBatch, Records, Sums, Variables

LOSS = Metric("loss", higher_is_better=False, format="loss {:.4f}", in_training=True)
BOX_AP = Metric("box_ap", higher_is_better=True, format="box AP {:.4f}")
MASK_AP = Metric("mask_ap", higher_is_better=True, format="mask AP {:.4f}")
OTHERS = tuple(Metric(f"{kind}_{name}", True) for kind in ("box", "mask") for name in STATS[1:])
MULTI = tuple(Metric(f"box_{name}_ms", True) for name in STATS)  # over several views
METRICS = (BOX_AP, MASK_AP, LOSS, *OTHERS, *MULTI)


@dataclass(frozen=True)
class Detection:
    """The task of a network that finds objects.

    Attributes:
      model: The network; its `losses` are minimised.
      mean, std: Statistics of pixels, per channel, on a scale of 0 to 1.
      resize: Longest long side and longest short side of images in evaluation, in pixels.
      canvases: Height and width of the shapes to which images are padded.
      views: The views of evaluation, the plain one first.
      class_names: One for each class of the data.
      category_ids: The number of each class in files of results.
      source: The images of evaluation; None where there are none.
      weights: Weights of the losses by the first word of their names.
      devices: Number that share a batch in evaluation; each computes one image at a time.
      dtype: Compute dtype, in which the network gets its images.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Size
    canvases: Sequence[Size]
    views: tuple[View, ...]
    class_names: Sequence[str]
    category_ids: Sequence[int]
    source: InstanceSource | None
    weights: Mapping[str, float]
    devices: int
    dtype: Any = jnp.float32

    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    body: ClassVar[str] = "backbone/"
    renewable: ClassVar[tuple[str, ...]] = (
        "neck/", "out_norm/", "rpn_head/", "retina_head/", "bbox_head", "mask_head",
    )  # fmt: skip

    def init(self, key: jax.Array) -> Variables:
        images = jnp.zeros((2, *self.canvases[0], 3), jnp.float32)
        return dict(self.model.init(key, images, train=False))

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        """Normalises, and sets padding to 0 afterwards; all draws were made on the host."""
        return {**batch, "image": self._normalized(batch["image"], batch["size"])}

    def _normalized(self, images: jax.Array, sizes: jax.Array) -> jax.Array:
        rows, columns = (
            jnp.arange(images.shape[1 + axis]) < sizes[:, axis, None] for axis in range(2)
        )
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return jnp.where(inside, normalize(images, self.mean, self.std, self.dtype), 0)

    def host_scalars(self, step: int) -> dict[str, float]:
        return {}

    def loss(
        self, variables: Variables, batch: Batch, key: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, Aux]:
        targets = Targets(
            sizes=batch["size"],
            boxes=batch["boxes"],
            classes=batch["classes"],
            valid=batch["valid"],
            masks=batch.get("masks"),
        )
        of_samplers, of_dropout = jax.random.split(key)
        losses, updates = self.model.apply(
            variables,
            batch["image"],
            targets,
            of_samplers,
            positions,
            method="losses",
            mutable=["batch_stats"],
            rngs={"dropout": of_dropout},
        )
        losses = {n: self.weights[n.partition("_")[0]] * value for n, value in losses.items()}
        loss = sum(losses.values(), jnp.zeros(()))
        count = jnp.asarray(len(batch["image"]), loss.dtype)
        sums = {f"loss_{name}": (count * value, count) for name, value in losses.items()}
        sums["loss"] = (count * loss, count)
        return loss, Aux(updates.get("batch_stats", {}), sums)

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        """Finds the objects of each image; the program for an image is the same in any batch."""
        return {}, one_by_one(lambda rows: self.predict(variables, rows), batch, self.devices)

    def predict(self, variables: Variables, batch: Batch) -> Records:
        """Finds objects in the arrays of `EvalTransform`.

        Returns the network's results of the plain view, in its pixels, and with several views
        those of all of them as "several", in pixels of the image as it is stored, without masks.
        """
        found = [
            self._view(variables, *(batch[name] for name in view_names(number)))
            for number in range(len(self.views))
        ]
        if len(found) == 1:
            return found[0]
        several = [
            self._restored(view, one, batch[view_names(number)[1]], batch["original"])
            for number, (view, one) in enumerate(zip(self.views, found, strict=True))
        ]
        joined = {
            name: jnp.concatenate([one[name] for one in several], axis=1)
            for name in ("boxes", "scores", "labels", "valid")
        }
        size = found[0]["valid"].shape[1]
        merge = lambda one: best_of_classes(**one, size=size)  # noqa: E731
        return {**found[0], "several": jax.vmap(merge)(joined)}

    def _view(self, variables: Variables, images: jax.Array, sizes: jax.Array) -> Records:
        normalized = self._normalized(images, sizes)
        return self.model.apply(variables, normalized, sizes, train=False)

    def _restored(
        self, view: View, found: Records, size: jax.Array, original: jax.Array
    ) -> Records:
        """Returns a view's detections in pixels of the image as it is stored."""
        boxes, width = found["boxes"], size[:, None, 1]
        if view.mirrored:
            x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
            boxes = jnp.stack([width - x2, y1, width - x1, y2], axis=-1)
        factor = (original / size).astype(boxes.dtype)[:, ::-1]
        return {**found, "boxes": boxes * jnp.tile(factor, 2)[:, None]}

    def collect(self, records: Records, batch: HostBatch) -> list[Any]:
        """Returns the detections of each image in its own pixels, masks as run lengths."""
        several = records.get("several")
        items = []
        for row, index in enumerate(batch["index"].tolist()):
            one = {name: array[row] for name, array in records.items() if name != "several"}
            original = batch["original"][row]
            item = {
                "index": index,
                "size": original.tolist(),
                "plain": found_objects(one, batch["size"][row], original),
            }
            if several is not None:
                one = {name: array[row] for name, array in several.items()}
                item["several"] = found_objects(one, original, original)
            items.append(item)
        return items

    def report(self, sums: Sums, kept: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
        assert self.source is not None
        truth = self.source.ground_truth(item["index"] for item in kept)
        return reports.make_report(self.class_names, truth, kept)

    def save_report(self, report: dict[str, Any], folder: Path) -> None:
        """Writes the files of `report.save_report`."""
        assert self.source is not None
        reports.save_report(report, folder, self.category_ids, self.source)

    def metadata(self) -> dict[str, Any]:
        return {
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
            "preprocessing": {
                "mean": list(self.mean),
                "std": list(self.std),
                "resize": list(self.resize),
                "canvases": [list(canvas) for canvas in self.canvases],
            },
        }

    def difference(self, metadata: Mapping[str, Any]) -> Difference | None:
        return class_difference(self.class_names, metadata)
