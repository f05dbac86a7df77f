"""Images generated on the fly for benchmarks, dry runs and `:debug`; no files."""

import numpy as np

from inceptionnext_jax.data.dataset import Dataset, Example
from inceptionnext_jax.data.made_images import SyntheticImages, class_names
from inceptionnext_jax.data.sampler import hash_indices, splitmix64

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 1_281_167, 100, 1000


class SyntheticSource(SyntheticImages):
    """A colour gradient that depends on the class, with noise that depends on the image.

    Neighbouring indices have neighbouring labels (index modulo num_classes), so any split of any
    size is balanced.
    """

    def _make(self, index: int) -> Example:
        label = index % self.num_classes
        return Example(self._pixels(self.stream(index), label), label, self.name(index))

    def _pixels(self, stream: int, label: int) -> np.ndarray:
        size = self.image_size
        look = splitmix64(np.array([label], np.uint64)).view(np.uint8)  # 8 bytes of class identity
        ramp = np.linspace(0.0, 1.0, size, dtype=np.float32)
        horizontal = np.sin(2 * np.pi * (1 + look[0] % 7) * ramp + look[1])
        vertical = np.sin(2 * np.pi * (1 + look[2] % 7) * ramp + look[3])
        pattern = (horizontal[None, :] + vertical[:, None]) * 24
        words = -(-size * size // 8)
        noise = hash_indices(self.seed, stream, words).view(np.uint8)[: size * size] % 64
        grey = pattern + noise.reshape(size, size)
        base = 48 + (look[4:7] % 96).astype(np.float32)
        return (grey[:, :, None] + base).astype(np.uint8)


def open_synthetic(*, image_size: int, num_classes: int | None, seed: int) -> Dataset:
    """Returns 1,281,167 training and 100 evaluation images of `num_classes` (1000) classes."""
    classes = num_classes or NUM_CLASSES
    return Dataset(
        name="synthetic",
        train=SyntheticSource(NUM_TRAIN, 0, image_size, classes, seed),
        eval=SyntheticSource(NUM_EVAL, 1, image_size, classes, seed),
        class_names=class_names(classes),
    )
