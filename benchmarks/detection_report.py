"""Time and memory of the scores of a whole evaluation, as many images and objects as COCO has.

python -m benchmarks.detection_report

prints JSON. Boxes are random, masks fill them; 100 detections of each image are as many as there
can be. `benchmarks.run --suite=detection_report` keeps the result.
"""

import json
import resource
import time
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from inceptionnext_jax.tasks.detection.ap import ImageResult, average_precision

IMAGES, OBJECTS, DETECTIONS, CLASSES = 5000, 7, 100, 80
SIZE = (480, 640)


def measured(images: int = IMAGES) -> dict[str, Any]:
    """Returns seconds of CPU time, and bytes of memory before and at most."""
    random = np.random.default_rng(0)
    truth, results = _truth(random, images), []
    for number in range(images):
        boxes = _boxes(random, DETECTIONS)
        results.append(
            ImageResult(
                image_id=number + 1,
                size=SIZE,
                boxes=boxes.astype(np.float32),
                scores=np.sort(random.random(DETECTIONS))[::-1].astype(np.float32),
                classes=random.integers(0, CLASSES, DETECTIONS).astype(np.int32),
                masks=_masks(boxes),
            )
        )
    found: dict[str, Any] = {"images": images, "detections": images * DETECTIONS}
    found["bytes_before"] = _peak()
    for kind in ("bbox", "segm"):
        start = time.process_time()
        average_precision(truth, results, kind)  # type: ignore[arg-type]
        found[f"{kind}_seconds"] = round(time.process_time() - start, 1)
    return {**found, "bytes_at_most": _peak()}


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Returns [count, 4], x1, y1, x2, y2."""
    sides = random.uniform(8, 200, (count, 2))
    corners = random.uniform(0, 1, (count, 2)) * (np.array(SIZE[::-1]) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def _masks(boxes: np.ndarray) -> list[bytes]:
    """Returns the run lengths of filled boxes."""
    places = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [code["counts"] for code in coco_mask.frPyObjects(places, *SIZE)]


def _truth(random: np.random.Generator, images: int) -> dict[str, Any]:
    """Returns annotations as `InstanceSource.ground_truth` does."""
    height, width = SIZE
    annotations: list[dict[str, Any]] = []
    for number in range(images):
        boxes = _boxes(random, OBJECTS)
        for (x1, y1, x2, y2), counts in zip(boxes.tolist(), _masks(boxes), strict=True):
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": number + 1,
                "category_id": int(random.integers(1, CLASSES + 1)),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "segmentation": {"size": list(SIZE), "counts": counts},
            })  # fmt: skip
    return {
        "images": [{"id": i + 1, "height": height, "width": width} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": str(k)} for k in range(CLASSES)],
    }


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(measured(), indent=1))
