"""Images with objects generated on the fly for benchmarks, dry runs and `:debug`; no files."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.instance_masks import encode
from inceptionnext_jax.data.instances import (
    InstanceDataset,
    Instances,
    categories,
    ground_truth_of,
)
from inceptionnext_jax.data.made_images import SyntheticImages, class_names
from inceptionnext_jax.data.sampler import hash_indices, image_uniforms

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 117_266, 20, 80  # as many as COCO 2017 has
_OBJECTS = 7  # of an image, as in COCO on average


class SyntheticInstances(SyntheticImages):
    """Rectangles of random classes over noise, each class in its own colour.

    Images are 3 : 4, every other one upright.
    """

    def _make(self, index: int) -> Example:
        stream = self.stream(index)
        height, width = self._size(index)
        noise = hash_indices(self.seed, stream, -(-height * width // 8)).view(np.uint8)
        image = np.repeat(noise[: height * width].reshape(height, width, 1) % 64, 3, axis=2)
        u = image_uniforms(self.seed, stream, 5 * _OBJECTS).reshape(5, _OBJECTS)
        classes = (u[0] * self.num_classes).astype(np.int32)
        sides = np.maximum(1, (u[1:3] * np.array([[width], [height]]) / 2).astype(np.int64))
        corners = (u[3:5] * (np.array([[width], [height]]) - sides)).astype(np.int64)
        boxes = np.concatenate([corners, corners + sides]).T
        masks = []
        for (left, top, right, bottom), color in zip(boxes.tolist(), classes, strict=True):
            image[top:bottom, left:right] += self._colors()[color]
            mask = np.zeros((height, width), np.uint8)
            mask[top:bottom, left:right] = 1
            masks.append(encode(mask))
        instances = Instances(
            image_id=index + 1,
            size=(height, width),
            boxes=boxes.astype(np.float32),
            classes=classes,
            crowd=np.zeros(_OBJECTS, bool),
            area=sides.prod(0).astype(np.float64),
            masks=tuple(masks),
        )
        return Example(image, instances, self.name(index))

    @property
    def sizes(self) -> np.ndarray:
        long = self.image_size * 4 // 3
        both = np.array([[self.image_size, long], [long, self.image_size]], np.int32)
        return both[np.arange(self.length) % 2]

    @property
    def annotated(self) -> np.ndarray:
        return np.ones(self.length, bool)

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        """Returns `InstanceSource.ground_truth`."""
        labels = (self[index].label for index in indices)
        found = [label for label in labels if isinstance(label, Instances)]
        names = class_names(self.num_classes)
        return ground_truth_of(found, categories(range(1, len(names) + 1), names))

    def _size(self, index: int) -> tuple[int, int]:
        size = self.image_size, self.image_size * 4 // 3
        return size if index % 2 == 0 else size[::-1]

    def _colors(self) -> np.ndarray:
        """[num_classes, 3] uint8; several layers of them wrap around, which is no harm."""
        return hash_indices(0, 0, self.num_classes).view(np.uint8).reshape(-1, 8)[:, :3]


def open_synthetic_instances(
    *, image_size: int, num_classes: int | None, seed: int
) -> InstanceDataset:
    """Returns 117,266 training and 20 evaluation images of `num_classes` (80) classes."""
    count = num_classes or NUM_CLASSES
    return InstanceDataset(
        name="synthetic",
        train=SyntheticInstances(NUM_TRAIN, 0, image_size, count, seed),
        eval=SyntheticInstances(NUM_EVAL, 1, image_size, count, seed),
        class_names=class_names(count),
        category_ids=tuple(range(1, count + 1)),
        has_masks=True,
    )
