"""Batches of images that share a padded shape, for detection."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inceptionnext_jax.data import sampler
from inceptionnext_jax.data.resize import Size, size_within

_lock = threading.Lock()


def canvas_numbers(sizes: np.ndarray, box: Size, canvases: Sequence[Size]) -> np.ndarray:
    """Returns the number of the canvas for each image, [N] int32.

    It is the smallest that holds the image resized within the box. Where none does, it is the one
    on which the image is largest. Of equal ones it is the first.

    sizes: [N, 2], height and width of images.
    box: the longest long side and the longest short side, as in `size_within`.
    """
    found = np.empty(len(sizes), np.int32)
    for shape in np.unique(sizes, axis=0):
        size = (int(shape[0]), int(shape[1]))
        resized = size_within(size, box)
        ranks = [
            (-min(1.0, height / resized[0], width / resized[1]), height * width)
            for height, width in canvases
        ]
        found[(sizes == shape).all(1)] = ranks.index(min(ranks))
    return found


@dataclass(frozen=True)
class AspectEpochs:
    """Training: each batch has images of one group, and so one canvas.

    A group is an endless row of its images, shuffled anew each time that all were shown, and is cut
    into batches; a batch may hold the end of one shuffling and the start of the next. So each image
    is shown once before any of its group comes again, and none is left out. An epoch has the
    batches of all groups that begin in it, in random order.

    Everything is a function of (seed, step), so continuing at a step costs nothing.

    Attributes:
      groups: The examples of each group, in the order of the transforms; none is empty.
      transforms: The number of each group's transform.
    """

    seed: int
    batch_size: int
    groups: tuple[np.ndarray, ...]
    transforms: tuple[int, ...]

    @property
    def num_steps(self) -> int | None:
        return None

    def transform(self, step: int) -> int:
        return self.transforms[self._locate(step)[0]]

    def index(self, step: int, position: int) -> int:
        group, batch = self._locate(step)
        members = self.groups[group]
        epoch, at = divmod(batch * self.batch_size + position, len(members))
        return int(members[_shuffled(self.seed, group + 1, epoch, len(members))[at]])

    def _locate(self, step: int) -> tuple[int, int]:
        """Returns (number of the group, number of the batch in the group's row)."""
        epoch = step * self.batch_size // sum(map(len, self.groups))
        while sum(self._batches_before(epoch + 1)) <= step:
            epoch += 1
        while sum(self._batches_before(epoch)) > step:
            epoch -= 1
        before, after = self._batches_before(epoch), self._batches_before(epoch + 1)
        at = int(_shuffled(self.seed, 0, epoch, sum(after) - sum(before))[step - sum(before)])
        for group, (first, end) in enumerate(zip(before, after, strict=True)):
            if at < end - first:
                return group, first + at
            at -= end - first
        raise AssertionError("an epoch has as many batches as its groups")

    def _batches_before(self, epoch: int) -> list[int]:
        """Batches of each group that begin before an epoch."""
        return [-(-epoch * len(members) // self.batch_size) for members in self.groups]


def aspect_epochs(seed: int, batch_size: int, canvas_of: np.ndarray) -> AspectEpochs:
    """Returns the order of images whose canvases have these numbers, [N] int."""
    numbers = np.unique(canvas_of)
    groups = tuple(np.flatnonzero(canvas_of == number) for number in numbers)
    return AspectEpochs(seed, batch_size, groups, tuple(numbers.tolist()))


def _shuffled(seed: int, row: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` things in an epoch, [count] int64, read-only."""
    with _lock:  # otherwise every thread that reaches a new epoch would sort it again
        return _permutation(seed, row, epoch, count)


@functools.lru_cache(maxsize=16)
def _permutation(seed: int, row: int, epoch: int, count: int) -> np.ndarray:
    order = np.argsort(sampler.hash_indices(seed, (row << 48) + epoch, count), kind="stable")
    order.flags.writeable = False
    return order
