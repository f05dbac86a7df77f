"""What every data set looks like to the pipelines: two random-access sources and class names."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
    """One labelled image.

    image: an encoded file (bytes) or a decoded image, [H, W, 3] uint8.
    label: class index, 0 <= label < num_classes; of multi-label data [num_classes] uint8, 0 or 1.
    name: where it came from, for messages.
    """

    image: bytes | np.ndarray
    label: int | np.ndarray
    name: str


class Source(Protocol):
    """Examples by index.

    An implementation pickles (worker processes get a copy), opens files lazily in each process,
    may be read from several threads at once, and returns the same example for an index each time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class Dataset:
    """An opened data set. A split that is not there is None.

    class_names: one name per class index, as the data give them.
    multi_label: an image has any number of classes instead of one.
    """

    name: str
    train: Source | None
    eval: Source | None
    class_names: tuple[str, ...]
    multi_label: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_train(self) -> int:
        return 0 if self.train is None else len(self.train)

    @property
    def num_eval(self) -> int:
        return 0 if self.eval is None else len(self.eval)
