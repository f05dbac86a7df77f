"""COCO 2017 (Lin et al., 2014), and other data with annotation files of its format.

DIR/annotations/instances_{train2017,val2017}.json
DIR/{train2017,val2017}/*.jpg
"""

import functools
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from inceptionnext_jax.data.coco_file import (
    Categories,
    CocoAnnotations,
    Json,
    pack_coco,
    read_categories,
    read_coco,
)
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.instance_masks import run_lengths
from inceptionnext_jax.data.instances import (
    InstanceDataset,
    Instances,
    categories,
    clipped_boxes,
    training_images,
)
from inceptionnext_jax.data.paths import PathList, read_bytes
from inceptionnext_jax.errors import UserError

NUM_TRAIN, NUM_EVAL = 117_266, 5_000  # of 118,287 training images, the annotated ones
_FETCH = (
    "fetch train2017.zip (18 GB), val2017.zip (1 GB) and annotations_trainval2017.zip (241 MB) "
    "from images.cocodataset.org/{zips,annotations}/, unpack them in one folder, and set data.dir "
    "to it"
)
_OWN = "or, for other data of this format, set data.train_json, data.eval_json and the splits"


@dataclass(frozen=True)
class CocoSource:
    """Image files and their annotations; images are read and masks unpacked on access."""

    annotations: CocoAnnotations
    categories: Categories

    def __len__(self) -> int:
        return len(self.annotations.image_ids)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        files = self.annotations.files
        path = os.path.join(files.root, files[index])
        return Example(read_bytes(path), self.instances(index), path)

    def instances(self, index: int) -> Instances:
        """The usable objects of an image, as mmdetection chooses them.

        Boxes are cut at the image's border. Left out are annotations that lie outside, have no
        area, a side below one pixel or a segmentation without a polygon, or say "ignore".
        """
        data, rows = self.annotations, self.annotations.rows(index)
        numbers = np.arange(rows.start, rows.stop)[data.usable[rows]]
        corners = data.boxes[numbers]
        corners[:, 2:] += corners[:, :2]
        height, width = data.sizes[index].tolist()
        return Instances(
            image_id=int(data.image_ids[index]),
            size=(height, width),
            boxes=clipped_boxes(corners, (height, width)).astype(np.float32),
            classes=data.classes[numbers],
            crowd=data.crowd[numbers],
            area=data.area[numbers],
            masks=tuple(data.masks[number] for number in numbers.tolist()),
        )

    @property
    def sizes(self) -> np.ndarray:
        return self.annotations.sizes

    @property
    def annotated(self) -> np.ndarray:
        return np.diff(self.annotations.ends, prepend=0) > 0

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        """Returns `InstanceSource.ground_truth`: all annotations as they stand in the file."""
        data = self.annotations
        images: list[Json] = []
        found: list[Json] = []
        for index in indices:
            height, width = data.sizes[index].tolist()
            image_id = int(data.image_ids[index])
            images.append({"id": image_id, "height": height, "width": width})
            rows = data.rows(index)
            for number in range(rows.start, rows.stop):
                code = run_lengths(data.masks[number], (height, width))
                found.append({
                    "id": len(found) + 1,
                    "image_id": image_id,
                    "category_id": self.categories.ids[data.classes[number]],
                    "bbox": data.boxes[number].tolist(),
                    "area": float(data.area[number]),
                    "iscrowd": int(data.crowd[number]),
                    "segmentation": {"size": [height, width], "counts": code},
                })  # fmt: skip
        classes = categories(self.categories.ids, self.categories.names)
        return {"images": images, "annotations": found, "categories": classes}


def open_coco(
    directory: str | None,
    *,
    train_split: str = "train2017",
    eval_split: str = "val2017",
    train_json: str | None = None,
    eval_json: str | None = None,
) -> InstanceDataset:
    """Reads the annotation files and looks for the images that they name.

    Either split may be missing, but not both. The classes are those of the training split, or else
    of the evaluation split, in the order of their ids. Training images without annotations or
    below 32 pixels are left out.

    directory: the folder of everything.
    train_split, eval_split: the folders of images in it; "." is the folder itself.
    train_json, eval_json: annotation files, in `directory` or absolute; None is
        annotations/instances_<split>.json.
    Raises UserError, which says what to fetch, when something is missing, and for files that are
    damaged or disagree.
    """
    if not directory:
        raise UserError(f"data.name=coco needs data.dir; {_FETCH}, {_OWN}")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data.dir={directory} is not a folder; {_FETCH}, {_OWN}")
    train, found = _open_split(root, train_split, train_json, None)
    evaluation, found = _open_split(root, eval_split, eval_json, found)
    if found is None:
        raise UserError(
            f"{root} has no annotations of {train_split!r} or {eval_split!r}; {_FETCH}, {_OWN}"
        )
    sources = [source for source in (train, evaluation) if source is not None]
    if train is not None and not len(training_images(train)):
        raise UserError(f"no image of {train.annotations.files.root} has annotations")
    return InstanceDataset(
        name="coco",
        train=None if train is None else training_images(train),
        eval=evaluation,
        class_names=found.names,
        category_ids=found.ids,
        has_masks=all(_has_masks(source) for source in sources),
    )


def _has_masks(source: CocoSource) -> bool:
    data = source.annotations
    return bool(data.masks.present[data.usable].all())


def _open_split(
    root: Path, split: str, json_file: str | None, known: Categories | None
) -> tuple[CocoSource | None, Categories | None]:
    """A split, None where it has neither images nor annotations, and the classes.

    known: the classes of the other split, if there is one.
    """
    images = root / split
    if os.path.isabs(split) or ".." in Path(split).parts:
        raise UserError(f"split {split!r} is not the name of a folder inside {root}")
    path = root / (json_file or f"annotations/instances_{split}.json")
    if not path.is_file():
        if json_file or (images.is_dir() and split != "."):
            raise UserError(f"{path} is missing, the annotations of {images}; {_FETCH}, {_OWN}")
        return None, known
    if not images.is_dir():
        raise UserError(f"{images} is missing, the images of {path}; {_FETCH}, {_OWN}")
    content = read_coco(path)
    own = read_categories(content, path)
    if known is not None:
        _check_same(own, known, path)
    source = CocoSource(pack_coco(content, known or own, images, path), known or own)
    _check_files(source.annotations.files, path)
    return source, source.categories


def _check_same(own: Categories, known: Categories, path: Path) -> None:
    expected = dict(zip(known.ids, known.names, strict=True))
    for number, name in zip(own.ids, own.names, strict=True):
        if expected.get(number) != name:
            raise UserError(
                f"{path} has the category {number} {name!r}, but the training split's {number} is "
                f"{expected.get(number)!r}; give both files the same categories"
            )


def _check_files(files: PathList, path: Path) -> None:
    """Raises UserError for images that are not there."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for index in range(len(files)):
        folder, name = os.path.split(files[index])
        wanted[folder].add(name)
    missing = []
    for folder, names in wanted.items():
        there = os.path.join(files.root, folder)
        present = set(os.listdir(there)) if os.path.isdir(there) else set()
        missing += [os.path.join(there, name) for name in names - present]
    if missing:
        raise UserError(
            f"{path} names {len(missing)} images of {len(files)} that are missing, such as "
            f"{min(missing)}; {_FETCH}, {_OWN}"
        )


@functools.cache
def coco_categories() -> Categories:
    """The 80 classes of COCO 2017 with their ids, 1 to 90."""
    with resources.as_file(resources.files(__package__) / "coco_classes.txt") as path:
        lines = [line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines()]
    return Categories(tuple(int(number) for number, _ in lines), tuple(name for _, name in lines))
