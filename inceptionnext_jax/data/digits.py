"""Scikit-learn's 1,797 handwritten digits: real images that need no download."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inceptionnext_jax.data.dataset import Dataset, Example
from inceptionnext_jax.data.sampler import hash_indices

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 1438, 359, 10
_SIDE = 32  # pixels, enlarged from 8


@dataclass(frozen=True)
class MemorySource:
    """Encoded images held in memory."""

    images: tuple[bytes, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        return Example(self.images[index], self.labels[index], self.names[index])


def open_digits() -> Dataset:
    """Returns the digits as 32x32 RGB PNG files in memory, 1,438 to train and 359 to evaluate."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(int)
    train, held_out = split_digits(labels)
    return Dataset(
        name="digits",
        train=_encoded(digits.images, labels, train),
        eval=_encoded(digits.images, labels, held_out),
        class_names=tuple(str(i) for i in range(NUM_CLASSES)),
    )


def split_digits(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sorted indices of the training and held-out images, always the same.

    Stratified: each class contributes the same share, in the order of a hash of the image's number.
    Shares are rounded by largest remainder, so the sizes are exactly 1,438 and 359.
    """
    order = np.argsort(hash_indices(0, 0, len(labels)), kind="stable")
    shares = np.bincount(labels, minlength=NUM_CLASSES) * NUM_EVAL / len(labels)
    quotas = np.floor(shares).astype(int)
    short = NUM_EVAL - quotas.sum()
    quotas[np.argsort(quotas - shares, kind="stable")[:short]] += 1
    held_out = np.concatenate(
        [order[labels[order] == label][:quota] for label, quota in enumerate(quotas)]
    )
    train = np.setdiff1d(np.arange(len(labels)), held_out)
    return train, np.sort(held_out)


def _encoded(pixels: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> MemorySource:
    return MemorySource(
        images=tuple(_png(pixels[i]) for i in indices),
        labels=tuple(int(labels[i]) for i in indices),
        names=tuple(f"digits/{i:04d}.png" for i in indices),
    )


def _png(digit: np.ndarray) -> bytes:
    """digit: [8, 8] float, 0 .. 16."""
    grey = np.round(digit * (255 / 16)).astype(np.uint8)
    picture = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
