"""A miniature COCO: the real layout, ids with gaps, images of many sizes, every kind of mask."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

CATEGORIES = [
    {"id": 17, "name": "cat", "supercategory": "animal"},
    {"id": 3, "name": "car", "supercategory": "vehicle"},
    {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
]
NUM_TRAIN, NUM_EVAL = 10, 6
EMPTY, SMALL, CROWDED = 2, 5, 4  # numbers of images: without annotations, below 32 px, all crowds


def write_coco(folder: Path, num_train: int = NUM_TRAIN, num_eval: int = NUM_EVAL) -> Path:
    """Writes `folder`/coco and returns its path."""
    root = folder / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, count, first in (("train2017", num_train, 100), ("val2017", num_eval, 900)):
        content = write_images(root / split, count, first)
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    return root


def write_images(folder: Path, count: int, first: int) -> dict[str, Any]:
    """Writes images and returns the content of their annotation file.

    Image number EMPTY has no annotations, SMALL is 30 pixels high, CROWDED has a crowd only.
    """
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        rng = np.random.default_rng(first + number)
        height, width = (int(side) for side in rng.integers(60, 140, 2))
        height = 30 if number == SMALL else height
        pixels = rng.integers(0, 90, (height, width, 3), np.uint8)
        image = {
            "id": 7 * (first + number), "file_name": f"{first + number:012d}.jpg",
            "height": height, "width": width,
        }  # fmt: skip
        for kind in () if number == EMPTY else range(1 if number == CROWDED else 5):
            made = _annotation(rng, pixels, kind)
            owner = {"id": 10 * first + len(annotations) + 1, "image_id": image["id"]}
            annotations.append(owner | made)
        Image.fromarray(pixels).save(folder / image["file_name"])
        images.append(image)
    return {
        "info": {}, "licenses": [], "images": images, "annotations": annotations,
        "categories": CATEGORIES,
    }  # fmt: skip


def _annotation(rng: np.random.Generator, pixels: np.ndarray, kind: int) -> dict[str, Any]:
    """Paints an object and describes it: a crowd as run lengths, polygons, coded run lengths."""
    height, width = pixels.shape[:2]
    top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
    bottom = int(rng.integers(top + 8, height + 1))
    right = int(rng.integers(left + 8, width + 1))
    category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    mask[top : top + 3, left : left + 3] = 0
    pixels[mask > 0] = 90 + CATEGORIES.index(category) * 60
    box = [float(left), float(top), float(right - left), float(bottom - top)]
    if kind == 0:
        stored: Any = {"size": [height, width], "counts": plain_runs(mask)}
    elif kind == 1:
        code = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
        stored = {"size": [height, width], "counts": code}
    else:
        x1, y1, x2, y2 = left + 0.25, top + 0.41, right - 0.3, bottom - 0.77
        middle = round((x1 + x2) / 2, 2)
        halves = [
            [x1, y1, middle - 1, y1, middle - 1, y2, x1, y2],
            [middle + 1, y1, x2, y1, x2, y2, middle + 1, y2 - 2.5],
        ]
        stored = [[round(value, 2) for value in half] for half in halves][: kind - 1]
    return {
        "category_id": category["id"], "bbox": box, "iscrowd": int(kind == 0),
        "area": float(mask.sum()), "segmentation": stored,
    }  # fmt: skip


def plain_runs(mask: np.ndarray) -> list[int]:
    """The run lengths of [H, W], column by column, zeros first."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    ends = np.flatnonzero(np.diff(flat.astype(int)) != 0)
    return np.diff(ends, prepend=0).tolist()
