"""Annotation files in COCO's format, packed into a few arrays (cocodataset.org/#format-data)."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptionnext_jax.data.instance_masks import (
    MaskError,
    MaskPacker,
    PackedMasks,
    Segmentation,
    Size,
    mask_area,
    parse_segmentation,
)
from inceptionnext_jax.data.paths import PathList, path_list
from inceptionnext_jax.errors import UserError

Json = dict[str, Any]


class Categories(NamedTuple):
    """The classes of a file, in the order of their numbers in it."""

    ids: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class CocoAnnotations:
    """The images of a file in its order, and their annotations, image by image.

    files: the images' paths below their folder.
    image_ids: [N] int64.
    sizes: [N, 2] int32, height and width as the file states them.
    ends: [N] int64, the end of each image's annotations in the arrays below.
    boxes: [A, 4] float64 as in the file: x, y, width, height.
    classes: [A] int32.
    crowd: [A] bool.
    area: [A] float64.
    usable: [A] bool, whether training and pictures may show an annotation.
    masks: A masks.
    """

    files: PathList
    image_ids: np.ndarray
    sizes: np.ndarray
    ends: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    usable: np.ndarray
    masks: PackedMasks

    def rows(self, index: int) -> slice:
        """Returns the rows of an image's annotations."""
        return slice(int(self.ends[index - 1]) if index else 0, int(self.ends[index]))


def read_coco(path: Path) -> Json:
    """Returns a file's content. Raises UserError unless it has the lists of a COCO file."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not readable as JSON ({error}); fetch or write this file again"
        ) from error
    for key in ("images", "categories"):
        if not isinstance(content, dict) or not _is_list_of_dicts(content.get(key)):
            raise UserError(f"{path} has no list '{key}'; expected a file in COCO's format")
    if not _is_list_of_dicts(content.setdefault("annotations", [])):
        raise UserError(f"'annotations' of {path} is not a list; expected a file in COCO's format")
    return content


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def read_categories(content: Json, path: Path) -> Categories:
    """Returns the classes, ascending by id."""
    found: dict[int, str] = {}
    for entry in content["categories"]:
        number, name = entry.get("id"), entry.get("name")
        if type(number) is not int or not isinstance(name, str):
            raise UserError(f"{path} has a category without a whole 'id' and a 'name': {entry}")
        if number in found:
            raise UserError(f"{path} gives the categories {found[number]!r} and {name!r} one id")
        found[number] = name
    if not found:
        raise UserError(f"{path} names no category, expected at least one")
    ids = tuple(sorted(found))
    return Categories(ids, tuple(found[number] for number in ids))


def pack_coco(content: Json, categories: Categories, root: Path, path: Path) -> CocoAnnotations:
    """Packs images and annotations; takes the annotations out of `content`.

    Annotations of unknown images and categories are left out, as pycocotools and mmdetection do.

    root: the images' folder.
    path: the file's, for messages.
    Raises UserError for an entry that lacks something or has something impossible.
    """
    images = [_image(entry, path) for entry in content["images"]]
    if not images:
        raise UserError(f"{path} lists no images")
    numbers = {image.id: number for number, image in enumerate(images)}
    if len(numbers) < len(images):
        twice = next(image.id for n, image in enumerate(images) if numbers[image.id] != n)
        raise UserError(f"{path} lists image id {twice} twice; give each image its own id")
    class_of = {number: index for index, number in enumerate(categories.ids)}
    by_image: dict[int, list[Json]] = defaultdict(list)
    for entry in content.pop("annotations"):
        number = numbers.get(_whole(entry, "image_id", path))
        if number is not None and _whole(entry, "category_id", path) in class_of:
            by_image[number].append(entry)
    rows = _Rows()
    ends = np.zeros(len(images), np.int64)
    for number, image in enumerate(images):
        for entry in by_image.pop(number, ()):
            rows.add(_annotation(entry, image, path), class_of[entry["category_id"]])
        ends[number] = len(rows.boxes)
    return CocoAnnotations(
        files=path_list(root, (image.file for image in images)),
        image_ids=np.array([image.id for image in images], np.int64),
        sizes=np.array([image.size for image in images], np.int32).reshape(-1, 2),
        ends=ends,
        boxes=np.array(rows.boxes, np.float64).reshape(-1, 4),
        classes=np.array(rows.classes, np.int32),
        crowd=np.array(rows.crowd, bool),
        area=np.array(rows.area, np.float64),
        usable=np.array(rows.usable, bool),
        masks=rows.masks.packed(),
    )


class _Image(NamedTuple):
    id: int
    file: str
    size: Size


def _image(entry: Json, path: Path) -> _Image:
    number, file = entry.get("id"), entry.get("file_name")
    if type(number) is not int or abs(number) >= 2**63 or not isinstance(file, str):
        raise UserError(f"{path} has an image without a whole 'id' and a 'file_name': {entry}")
    parts = Path(file).parts
    if not parts or ".." in parts or Path(file).is_absolute() or "\0" in file:
        raise UserError(
            f"{path} names the image {file!r}, which is no path inside the images' folder; give it "
            f"relative to that folder, without '..'"
        )
    size = entry.get("height"), entry.get("width")
    if not all(type(side) is int and 0 < side < 2**16 for side in size):
        raise UserError(f"{path} gives image {file!r} no 'height' and 'width' in whole pixels")
    return _Image(number, file, size)  # type: ignore[arg-type]


def _whole(entry: Json, key: str, path: Path) -> int:
    number = entry.get(key)
    if type(number) is not int:
        raise UserError(f"{path}: annotation {entry.get('id')} has no whole number {key!r}")
    return number


class _Annotation(NamedTuple):
    box: tuple[float, float, float, float]
    crowd: bool
    area: float
    usable: bool
    mask: Segmentation


def _annotation(entry: Json, image: _Image, path: Path) -> _Annotation:
    where = f"{path}: annotation {entry.get('id')} of image {image.file!r}"
    try:
        x, y, width, height = map(float, entry["bbox"])
        area = entry.get("area")
        area = None if area is None else float(area)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} needs a 'bbox' of four numbers and a number as 'area'") from error
    if not all(map(math.isfinite, (x, y, width, height, area or 0))):
        raise UserError(f"{where} has a number that is not finite")
    try:
        mask = parse_segmentation(entry.get("segmentation"), image.size)
    except MaskError as error:
        raise UserError(f"{where} has a wrong 'segmentation': {error}") from error
    if area is None:
        area = width * height if mask is None else float(mask_area(mask, image.size))
    right, bottom = min(x + width, image.size[1]), min(y + height, image.size[0])
    inside = max(0, right - max(x, 0)) * max(0, bottom - max(y, 0)) > 0
    wanted = "segmentation" not in entry or mask is not None
    usable = inside and area > 0 and min(width, height) >= 1 and wanted and not entry.get("ignore")
    crowd = bool(entry.get("iscrowd", 0))
    return _Annotation((x, y, width, height), crowd, area, usable, mask)


class _Rows:
    """The columns while they grow."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, float, float, float]] = []
        self.classes: list[int] = []
        self.crowd: list[bool] = []
        self.area: list[float] = []
        self.usable: list[bool] = []
        self.masks = MaskPacker()

    def add(self, one: _Annotation, number: int) -> None:
        self.boxes.append(one.box)
        self.classes.append(number)
        self.crowd.append(one.crowd)
        self.area.append(one.area)
        self.usable.append(one.usable)
        self.masks.add(one.mask)
