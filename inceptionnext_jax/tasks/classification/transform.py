"""Host transforms of classification: one crop of the image beside its label or labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from inceptionnext_jax.data.crop import NUM_UNIFORMS, CenterCrop, RandomResizedCrop
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.transform import ArraySpec

ONE_LABEL = ArraySpec((), "int32")


def multi_hot_labels(num_classes: int) -> ArraySpec:
    """Labels of images with any number of classes: 0 or 1 for each."""
    return ArraySpec((num_classes,), "uint8")


@dataclass(frozen=True)
class TrainTransform:
    """Random-resized crop and mirroring; "image" [S, S, 3] uint8 and "label"."""

    crop: RandomResizedCrop
    label: ArraySpec = ONE_LABEL

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        return _spec(self.crop.size, self.label)

    @property
    def num_uniforms(self) -> int:
        return NUM_UNIFORMS

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        image = self.crop(example.image, uniforms, example.name)
        return {"image": image, "label": np.asarray(example.label)}


@dataclass(frozen=True)
class EvalTransform:
    """Centre crop; "image" [S, S, 3] uint8 and "label"."""

    crop: CenterCrop
    label: ArraySpec = ONE_LABEL

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        return _spec(self.crop.size, self.label)

    @property
    def num_uniforms(self) -> int:
        return 0

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        image = self.crop(example.image, example.name)
        return {"image": image, "label": np.asarray(example.label)}


def _spec(size: int, label: ArraySpec) -> dict[str, ArraySpec]:
    return {"image": ArraySpec((size, size, 3), "uint8"), "label": label}
