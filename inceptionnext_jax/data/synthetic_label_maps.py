"""Images with label maps generated on the fly for benchmarks, dry runs and `:debug`; no files."""

import numpy as np

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.label_maps import LabelMapDataset, LabelRule, voc_palette
from inceptionnext_jax.data.made_images import SyntheticImages, class_names
from inceptionnext_jax.data.sampler import hash_indices

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 20_210, 20, 150
_CELLS = 4  # along each side of an image


class SyntheticLabelMaps(SyntheticImages):
    """Square cells of random classes, each class in its own colour with noise.

    The lowest rows have no label: their stored id is num_classes.
    """

    def _make(self, index: int) -> Example:
        size = self.image_size
        draws = hash_indices(self.seed, self.stream(index), _CELLS**2 + -(-size * size // 8))
        cells = (draws[: _CELLS**2] % np.uint64(self.num_classes)).astype(np.uint16)
        cell = np.arange(size) * _CELLS // size
        label_map = cells.reshape(_CELLS, _CELLS)[cell[:, None], cell]
        noise = draws[_CELLS**2 :].view(np.uint8)[: size * size].reshape(size, size, 1) % 64
        image = self._colors()[label_map] + noise
        label_map[size - max(1, size // 16) :] = self.num_classes
        return Example(image, label_map, self.name(index))

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
        train=SyntheticLabelMaps(NUM_TRAIN, 0, image_size, classes, seed),
        eval=SyntheticLabelMaps(NUM_EVAL, 1, image_size, classes, seed),
        class_names=class_names(classes),
        rule=LabelRule(classes, ignore_index=classes),
        palette=voc_palette(classes),
    )
