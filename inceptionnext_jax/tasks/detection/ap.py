"""Average precision of boxes and masks, equal to COCO's own evaluation (pycocotools)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["bbox", "segm"]  # by boxes, by masks
STATS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
_MAX_DETECTIONS = (1, 10, 100)
_AREAS = ("all", "small", "medium", "large")
_IOU50, _IOU75 = 0, 5  # of 0.5, 0.55 .. 0.95
_GROUP = 50_000  # detections that are scored at once, since each takes 4 kB meanwhile


class ImageResult(NamedTuple):
    """The detections of one image, D of them, in the image's own pixels.

    Attributes:
      image_id: The image's number in its annotations.
      size: Its height and width.
      boxes: [D, 4] float32, x1, y1, x2, y2.
      scores: [D] float32.
      classes: [D] int32, 0 .. K - 1.
      masks: D masks as compressed run lengths (`instance_masks.encode`); None: boxes only.
    """

    image_id: int
    size: Sequence[int]
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: Sequence[bytes] | None = None


class Scores(NamedTuple):
    """Scores of a whole data set, fractions in [0, 1]; nan where nothing defines one.

    Attributes:
      stats: COCO's twelve by the names in STATS: precision ("ap") and recall ("ar"), averaged over
        overlaps of 0.5 to 0.95 or at one, by area, and for 1, 10 or 100 detections of an image.
      per_class: [K], of each class: "ap".
      per_class50: [K], of each class: "ap50".
      precision: [10, 101, K], at each overlap, recall (0, 0.01 .. 1) and class.
    """

    stats: dict[str, float]
    per_class: np.ndarray
    per_class50: np.ndarray
    precision: np.ndarray


def average_precision(
    truth: Mapping[str, Any], results: Sequence[ImageResult], kind: Kind
) -> Scores:
    """Returns the scores of results.

    Classes are scored in groups, so that memory stays small whatever the number of images.

    Args:
      truth: `InstanceSource.ground_truth` of the images that were evaluated. Its categories in
        their order are the classes. Images without a result have no detections.
      results: At most one of each image.
      kind: Boxes or masks; an object's area is the annotation's, a detection's that of its box or
        mask.
    """
    category_ids = [category["id"] for category in truth["categories"]]
    counts = np.zeros(len(category_ids), np.int64)
    for result in results:
        counts += np.bincount(result.classes, minlength=len(category_ids))
    tables = [
        _tables(truth, results, group, category_ids, kind) for group in _groups(counts, _GROUP)
    ]
    precision = np.concatenate([table[0] for table in tables], axis=2)
    recall = np.concatenate([table[1] for table in tables], axis=1)
    of_all = precision[..., _AREAS.index("all"), -1]
    return Scores(
        stats=_stats(precision, recall),
        per_class=np.array([_mean(of_all[:, :, k]) for k in range(len(category_ids))]),
        per_class50=np.array([_mean(of_all[_IOU50, :, k]) for k in range(len(category_ids))]),
        precision=np.where(of_all < 0, np.nan, of_all),
    )


def _groups(counts: np.ndarray, most: int) -> list[range]:
    """Consecutive classes with up to `most` detections in all, or single classes."""
    groups, start, total = [], 0, 0
    for number, count in enumerate(counts.tolist()):
        if number > start and total + count > most:
            groups.append(range(start, number))
            start, total = number, 0
        total += count
    return [*groups, range(start, len(counts))]


def _tables(
    truth: Mapping[str, Any],
    results: Sequence[ImageResult],
    group: range,
    category_ids: Sequence[int],
    kind: Kind,
) -> tuple[np.ndarray, np.ndarray]:
    """COCO's tables of some classes: precision [10, 101, k, 4, 3] and recall [10, k, 4, 3].

    -1 stands for "not defined".
    """
    from faster_coco_eval.core.coco import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    wanted = {category_ids[number] for number in group}
    annotations = [
        {**entry, "id": number + 1}
        for number, entry in enumerate(
            entry for entry in truth["annotations"] if entry["category_id"] in wanted
        )
    ]
    categories = [entry for entry in truth["categories"] if entry["id"] in wanted]
    known = COCO({"images": truth["images"], "annotations": annotations, "categories": categories})
    found = known.loadRes(list(coco_results(results, category_ids, kind, group)))
    evaluation = COCOeval_faster(known, found, kind, print_function=_silent)
    evaluation.params.maxDets = list(_MAX_DETECTIONS)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _silent(*_: object) -> None:
    pass


def _stats(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    every, *sizes = range(len(_AREAS))
    values = (
        precision[:, :, :, every, -1],
        precision[_IOU50, :, :, every, -1],
        precision[_IOU75, :, :, every, -1],
        *(precision[:, :, :, size, -1] for size in sizes),
        *(recall[:, :, every, most] for most in range(len(_MAX_DETECTIONS))),
        *(recall[:, :, size, -1] for size in sizes),
    )
    return {name: _mean(value) for name, value in zip(STATS, values, strict=True)}


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are defined."""
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else float("nan")


def coco_results(
    results: Sequence[ImageResult],
    category_ids: Sequence[int],
    kind: Kind,
    classes: range | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields detections as COCO's result files have them.

    Those of masks have no "bbox": with one, COCO's tools take the box's area for the mask's.

    Args:
      results: The detections.
      category_ids: The number of each class.
      kind: "bbox" or "segm"; the latter leaves images without masks out.
      classes: The classes that are wanted; None: all.
    """
    for result in results:
        for number, label in enumerate(result.classes.tolist()):
            if classes is not None and label not in classes:
                continue
            entry: dict[str, Any] = {
                "image_id": int(result.image_id),
                "category_id": category_ids[label],
                "score": float(result.scores[number]),
            }
            if kind == "bbox":
                x1, y1, x2, y2 = result.boxes[number].tolist()
                yield {**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            elif result.masks is not None:
                mask = {"size": list(result.size), "counts": result.masks[number]}
                yield {**entry, "segmentation": mask}


def write_results(
    path: Path, results: Sequence[ImageResult], category_ids: Sequence[int], kind: Kind
) -> None:
    """Writes COCO's result file, one detection a line."""
    with path.open("w", encoding="utf-8") as file:
        between = "["
        for entry in coco_results(results, category_ids, kind):
            if kind == "segm":
                counts = entry["segmentation"]["counts"].decode("ascii")
                entry["segmentation"] = {**entry["segmentation"], "counts": counts}
            file.write(f"{between}\n{json.dumps(entry)}")
            between = ","
        file.write("[]\n" if between == "[" else "\n]\n")
