"""The base of synthetic sources: examples as functions of (seed, split, index)."""

from dataclasses import dataclass

from inceptionnext_jax.data.dataset import Example


@dataclass(frozen=True)
class SyntheticImages:
    """Images generated on access; subclasses define `_make`.

    Attributes:
      length: Number of images.
      image_size: Pixels of the shorter side.
      num_classes: Number of classes.
      seed: Seed of the noise.
      split: Number of the split.
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
        return self._make(index, (self.split << 40) + index, f"synthetic/{self.split}/{index}")

    def _make(self, index: int, stream: int, name: str) -> Example:
        """Returns an example; `stream` is that of its random numbers, besides the seed."""
        raise NotImplementedError


def class_names(count: int) -> tuple[str, ...]:
    """Returns the names of synthetic classes."""
    return tuple(f"class_{i:04d}" for i in range(count))
