"""Sources whose examples are made on access."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from inceptionnext_jax.data.dataset import Example


@dataclass(frozen=True)
class MadeImages(ABC):
    """Images without files; subclasses define `_make`.

    Attributes:
      length: Number of images.
      split: Number of the split.
    """

    length: int
    split: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self._make(index)

    @abstractmethod
    def _make(self, index: int) -> Example:
        """Returns an example; `index` is in range."""


@dataclass(frozen=True)
class SyntheticImages(MadeImages):
    """Synthetic images, which are functions of (seed, split, index).

    Attributes:
      image_size: Pixels of the shorter side.
      num_classes: Number of classes.
      seed: Seed of the noise.
    """

    image_size: int
    num_classes: int
    seed: int

    def stream(self, index: int) -> int:
        """Returns the number of an image's random numbers, besides the seed."""
        return (self.split << 40) + index

    def name(self, index: int) -> str:
        """Returns the name of an image."""
        return f"synthetic/{self.split}/{index}"


def class_names(count: int) -> tuple[str, ...]:
    """Returns the names of synthetic classes."""
    return tuple(f"class_{i:04d}" for i in range(count))
