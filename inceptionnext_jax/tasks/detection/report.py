"""The report of an evaluation of a detector, and its files."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptionnext_jax.data.instances import InstanceSource
from inceptionnext_jax.files import replaced, write_atomically
from inceptionnext_jax.tasks.detection.ap import (
    ImageResult,
    Kind,
    Scores,
    average_precision,
    write_results,
)
from inceptionnext_jax.tasks.detection.pictures import draw_curves, draw_worst_images

_FILES: dict[Kind, str] = {"bbox": "detections.json", "segm": "detections_segm.json"}


class Evaluated(NamedTuple):
    """Material of the report's files, beside its numbers.

    Attributes:
      truth: The annotations (`InstanceSource.ground_truth`).
      results: The detections of each image, in the order of `truth["images"]`.
      indices: The images' numbers in their source.
      box, mask: Their scores; `mask` is None where no masks are found.
    """

    truth: Mapping[str, Any]
    results: Sequence[ImageResult]
    indices: Sequence[int]
    box: Scores
    mask: Scores | None


def make_report(
    class_names: Sequence[str], truth: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Returns (scalars to log, report) of an evaluation.

    Args:
      class_names: One for each class.
      truth: The annotations of the images.
      kept: The items of `Detection.collect`, in the same order.
    """
    results = _results(truth, kept, "plain")
    box = average_precision(truth, results, "bbox")
    scores = {"box": box}
    mask = None
    if results and all(result.masks is not None for result in results):
        mask = scores["mask"] = average_precision(truth, results, "segm")
    scalars = {
        f"{kind}_{name}": value
        for kind, of_kind in scores.items()
        for name, value in of_kind.stats.items()
    }
    if kept and "several" in kept[0]:
        several = average_precision(truth, _results(truth, kept, "several"), "bbox")
        scalars |= {f"box_{name}_ms": value for name, value in several.stats.items()}
    scalars |= {"count": len(kept), "detections": sum(len(result.scores) for result in results)}
    report: dict[str, Any] = {name: _or_none(value) for name, value in scalars.items()}
    report["per_class"] = _per_class(class_names, truth, results, scores)
    indices = [item["index"] for item in kept]
    report["evaluated"] = Evaluated(truth, results, indices, box, mask)
    return scalars, report


def _results(
    truth: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], views: str
) -> list[ImageResult]:
    return [
        ImageResult(image_id=image["id"], size=item["size"], **item[views])
        for image, item in zip(truth["images"], kept, strict=True)
    ]


def _per_class(
    class_names: Sequence[str],
    truth: Mapping[str, Any],
    results: Sequence[ImageResult],
    scores: Mapping[str, Scores],
) -> dict[str, dict[str, float | None]]:
    objects = Counter(
        entry["category_id"] for entry in truth["annotations"] if not entry["iscrowd"]
    )
    found = np.zeros(len(class_names), np.int64)
    for result in results:
        found += np.bincount(result.classes, minlength=len(class_names))
    return {
        name: {
            **{
                f"{kind}_{stat}": _or_none(values[k])
                for kind, of_kind in scores.items()
                for stat, values in (("ap", of_kind.per_class), ("ap50", of_kind.per_class50))
            },
            "objects": objects[truth["categories"][k]["id"]],
            "detections": int(found[k]),
        }
        for k, name in enumerate(class_names)
    }


def save_report(
    report: Mapping[str, Any], folder: Path, category_ids: Sequence[int], source: InstanceSource
) -> None:
    """Writes eval.json, and of the weights per_class.csv, results in COCO's format and pictures.

    These are detections.json and detections_segm.json, precision_recall.png and worst.png.

    Args:
      report: {"eval": what `make_report` returns, "eval_ema": the same, …}.
      folder: Folder of the files.
      category_ids: The number of each class in files of results.
      source: The images.
    """
    numbers = {
        name: _without_results(part) if isinstance(part, Mapping) else part
        for name, part in report.items()
    }
    write_atomically(folder / "eval.json", json.dumps(numbers, indent=1))
    first = report["eval"]
    write_atomically(folder / "per_class.csv", _table(first["per_class"]))
    evaluated: Evaluated = first["evaluated"]
    results, kinds = evaluated.results, _kinds(evaluated)
    for kind, file in _FILES.items():
        if kind in kinds:
            with replaced(folder / file) as path:
                write_results(path, results, category_ids, kind)
    names = list(first["per_class"])
    draw_curves(kinds, names, folder / "precision_recall.png")
    read = lambda number: source[evaluated.indices[number]]  # noqa: E731
    if not draw_worst_images(evaluated.truth, results, names, read, folder / "worst.png"):
        (folder / "worst.png").unlink(missing_ok=True)


def _kinds(evaluated: Evaluated) -> dict[Kind, Scores]:
    scores: dict[Kind, Scores] = {"bbox": evaluated.box}
    return scores if evaluated.mask is None else {**scores, "segm": evaluated.mask}


def _table(per_class: Mapping[str, Mapping[str, float | None]]) -> str:
    """The rows of classes as CSV."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("class", *next(iter(per_class.values()))))
    for name, row in per_class.items():
        rows.writerow((name, *("" if value is None else value for value in row.values())))
    return table.getvalue()


def _without_results(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "evaluated"}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
