"""The scenes of `digit_scenes` as images with objects: each digit with its box and its mask."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.digit_scenes import (
    HELD_OUT,
    NUM_EVAL,
    NUM_TRAIN,
    TRAIN,
    scene,
    scene_name,
    scene_size,
)
from inceptionnext_jax.data.instance_masks import encode
from inceptionnext_jax.data.instances import (
    InstanceDataset,
    Instances,
    categories,
    ground_truth_of,
)
from inceptionnext_jax.data.made_images import MadeImages

CLASS_NAMES = tuple(map(str, range(10)))
CATEGORY_IDS = tuple(range(1, 11))  # COCO's tools have no category 0


class DigitInstances(MadeImages):
    """Scenes with their visible digits; area is the number of visible pixels."""

    def _make(self, index: int) -> Example:
        made = scene(0, self.split, index)
        instances = Instances(
            image_id=index + 1,
            size=(made.image.shape[0], made.image.shape[1]),
            boxes=made.boxes,
            classes=made.digits.astype(np.int32),
            crowd=np.zeros(len(made.digits), bool),
            area=made.masks.sum((1, 2)).astype(np.float64),
            masks=tuple(encode(mask) for mask in made.masks),
        )
        return Example(made.image, instances, scene_name(self.split, index))

    @property
    def sizes(self) -> np.ndarray:
        sizes = [scene_size(0, self.split, index) for index in range(self.length)]
        return np.array(sizes, np.int32)

    @property
    def annotated(self) -> np.ndarray:
        return np.ones(self.length, bool)

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        """Returns `InstanceSource.ground_truth`."""
        labels = (self[index].label for index in indices)
        found = [label for label in labels if isinstance(label, Instances)]
        return ground_truth_of(found, categories(CATEGORY_IDS, CLASS_NAMES))


def open_digit_instances() -> InstanceDataset:
    """Returns 1,000 training and 100 held-out scenes, always the same."""
    return InstanceDataset(
        name="digit_scenes",
        train=DigitInstances(NUM_TRAIN, TRAIN),
        eval=DigitInstances(NUM_EVAL, HELD_OUT),
        class_names=CLASS_NAMES,
        category_ids=CATEGORY_IDS,
        has_masks=True,
    )
