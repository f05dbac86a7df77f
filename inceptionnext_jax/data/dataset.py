"""The interface of data sets to the pipelines: two random-access sources and class names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from inceptionnext_jax.data.instances import Instances


class Example(NamedTuple):
    """One labelled image.

    image: an encoded file (bytes) or a decoded image, [H, W, 3] uint8.
    label: class index, 0 <= label < num_classes; for multi-label data [num_classes] uint8, 0 or 1;
        for label maps an encoded file (bytes) or the stored ids, [H, W] integers; for detection
        the image's objects.
    name: the image's origin, for messages.
    """

    image: bytes | np.ndarray
    label: "int | bytes | np.ndarray | Instances"
    name: str


class Source(Protocol):
    """Examples by index.

    An implementation is picklable (worker processes get a copy), opens files lazily in each
    process, allows reads from several threads at once, and always returns the same example for an
    index.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class Splits:
    """An opened data set of any kind; a missing split is None.

    class_names: one name per class index, as in the data.
    """

    name: str
    train: Source | None
    eval: Source | None
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_train(self) -> int:
        return 0 if self.train is None else len(self.train)

    @property
    def num_eval(self) -> int:
        return 0 if self.eval is None else len(self.eval)


@dataclass(frozen=True)
class Dataset(Splits):
    """Images with classes.

    multi_label: whether images have any number of classes instead of one.
    """

    multi_label: bool = False
