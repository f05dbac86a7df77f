"""Images with objects: boxes, classes and masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from inceptionnext_jax.data.dataset import Example, Source, Splits
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.data.instance_masks import Segmentation, Size, run_lengths

MIN_SIDE = 32  # pixels of the shorter side of training images, as in mmdetection


class Instances(NamedTuple):
    """The objects of one image, N of them, in the pixels of the image as it is stored.

    Attributes:
      image_id: The image's number in results.
      size: Its height and width.
      boxes: [N, 4] float32, x1, y1, x2, y2 within the image; widths are x2 - x1.
      classes: [N] int32, 0 .. K - 1.
      crowd: [N] bool, where a box is around a group: detectors learn nothing from these, and
        detections inside of them are neither right nor wrong.
      area: [N] float64, pixels of the object, which make it small, medium or large in scores.
      masks: N masks as they are stored; `instance_masks` draws them.
    """

    image_id: int
    size: Size
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    masks: tuple[Segmentation, ...]

    def select(self, keep: np.ndarray) -> "Instances":
        """Returns the objects where `keep` is true, [N] bool."""
        masks = tuple(mask for mask, kept in zip(self.masks, keep, strict=True) if kept)
        return self._replace(
            boxes=self.boxes[keep],
            classes=self.classes[keep],
            crowd=self.crowd[keep],
            area=self.area[keep],
            masks=masks,
        )


class InstanceSource(Source, Protocol):
    """Examples whose labels are `Instances`.

    Attributes:
      sizes: [N, 2] int32, the height and width of each image.
      annotated: [N] bool, whether an image has annotations of any kind.
    """

    @property
    def sizes(self) -> np.ndarray: ...

    @property
    def annotated(self) -> np.ndarray: ...

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        """Returns the annotations that scores compare with, of some images, as in a COCO file.

        "images" have "id", "height" and "width"; "annotations" have "id", "image_id",
        "category_id", "bbox", "area", "iscrowd" and "segmentation" (compressed run lengths);
        "categories" have "id" and "name".
        """
        ...


@dataclass(frozen=True)
class InstanceDataset(Splits):
    """Images with objects.

    category_ids: the number of each class in files of annotations and results, ascending.
    has_masks: whether objects have masks.
    """

    train: InstanceSource | None
    eval: InstanceSource | None
    category_ids: tuple[int, ...]
    has_masks: bool


@dataclass(frozen=True)
class SelectedImages:
    """Some images of a source, in an order of their own."""

    source: InstanceSource
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    @property
    def sizes(self) -> np.ndarray:
        return self.source.sizes[self.indices]

    @property
    def annotated(self) -> np.ndarray:
        return self.source.annotated[self.indices]

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        return self.source.ground_truth(int(self.indices[index]) for index in indices)


def training_images(source: InstanceSource) -> InstanceSource:
    """Returns the images to train with: annotated ones of at least 32 pixels on both sides.

    As in mmdetection. Images whose annotations are all crowds or unusable stay, without objects.
    """
    keep = source.annotated & (source.sizes.min(1, initial=2**31 - 1) >= MIN_SIDE)
    return source if keep.all() else SelectedImages(source, np.flatnonzero(keep))


def check_pixels(image: np.ndarray, instances: Instances, name: str) -> None:
    """Raises BadImageError where an image, [H, W, 3], has another size than its annotations say."""
    if image.shape[:2] != instances.size:
        (height, width), (stated_height, stated_width) = image.shape[:2], instances.size
        raise BadImageError(
            f"cannot use {name}: the image has {width} × {height} pixels, its annotations say "
            f"{stated_width} × {stated_height}; replace this file or correct the annotations"
        )


def clipped_boxes(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Returns boxes [N, 4], x1, y1, x2, y2, within an image."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def categories(ids: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the "categories" of a COCO file."""
    return [{"id": int(i), "name": name} for i, name in zip(ids, names, strict=True)]


def ground_truth_of(
    examples: Iterable[Instances], classes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns `InstanceSource.ground_truth` of images whose boxes need no correction.

    classes: the "categories".
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for one in examples:
        height, width = one.size
        images.append({"id": one.image_id, "height": height, "width": width})
        for number, (x1, y1, x2, y2) in enumerate(one.boxes.tolist()):
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": one.image_id,
                "category_id": classes[one.classes[number]]["id"],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(one.area[number]),
                "iscrowd": int(one.crowd[number]),
                "segmentation": {
                    "size": [height, width], "counts": run_lengths(one.masks[number], one.size),
                },
            })  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": list(classes)}
