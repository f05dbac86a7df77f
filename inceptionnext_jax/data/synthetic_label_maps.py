"""Images with label maps generated on the fly for benchmarks, dry runs and `:debug`; no files."""

from dataclasses import dataclass

import numpy as np

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.label_maps import LabelMapDataset, LabelRule, voc_palette
from inceptionnext_jax.data.sampler import hash_indices

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 20_210, 20, 150
_CELLS = 4  # along each side of an image


@dataclass(frozen=True)
class SyntheticLabelMaps:
    """Square cells of random classes, each class in its own colour with noise.

    The lowest rows have no label: their stored id is num_classes.
    """

    length: int
    image_size: int
    num_classes: int
    seed: int
    split: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(index)
        size = self.image_size
        draws = hash_indices(
            self.seed, (self.split << 40) + index, _CELLS**2 + -(-size * size // 8)
        )
        cells = (draws[: _CELLS**2] % np.uint64(self.num_classes)).astype(np.uint16)
        cell = np.arange(size) * _CELLS // size
        label_map = cells.reshape(_CELLS, _CELLS)[cell[:, None], cell]
        noise = draws[_CELLS**2 :].view(np.uint8)[: size * size].reshape(size, size, 1) % 64
        image = self._colors()[label_map] + noise
        label_map[size - max(1, size // 16) :] = self.num_classes
        return Example(image, label_map, f"synthetic/{self.split}/{index}")

    def _colors(self) -> np.ndarray:
        """[num_classes, 3] uint8, at most 191."""
        return hash_indices(0, 0, self.num_classes).view(np.uint8).reshape(-1, 8)[:, :3] % 192


def open_synthetic_label_maps(
    *, image_size: int, num_classes: int | None, seed: int
) -> LabelMapDataset:
    """Returns 20,210 training and 20 evaluation images of `num_classes` (150) classes."""
    classes = num_classes or NUM_CLASSES
    return LabelMapDataset(
        name="synthetic",
        train=SyntheticLabelMaps(NUM_TRAIN, image_size, classes, seed, split=0),
        eval=SyntheticLabelMaps(NUM_EVAL, image_size, classes, seed, split=1),
        class_names=tuple(f"class_{i:04d}" for i in range(classes)),
        rule=LabelRule(classes, ignore_index=classes),
        palette=voc_palette(classes),
    )
