"""Images that cannot be decoded: gone around alike in every run, counted, named, and limited."""

import sys
from collections.abc import Callable

import numpy as np

from inceptionnext_jax.data.dataset import Example, Source
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.errors import UserError

GOOD = -1  # in a batch's "bad": this row shows what it should
_TRIES = 100  # neighbours that may stand in for a bad image


def first_good(
    source: Source, index: int, pixels: Callable[[Example], np.ndarray]
) -> tuple[np.ndarray, Example, int]:
    """Pixels of example `index`, or of the next one in the source's order that can be decoded.

    A function of the data alone, so a resumed run and one on other processes see the same.
    Returns (pixels, example, the index where that was bad and otherwise GOOD).
    """
    for step in range(min(_TRIES, len(source))):
        example = source[(index + step) % len(source)]
        try:
            return pixels(example), example, index if step else GOOD
        except BadImageError as error:
            last = error
    raise UserError(f"none of {_TRIES} images in a row can be decoded; the last: {last}")


class BadImages:
    """The bad images that a process has met in one split."""

    def __init__(self, source: Source, pixels: Callable[[Example], np.ndarray], limit: float):
        """limit: the share of the split that may be bad."""
        self._source, self._pixels = source, pixels
        self.allowed = int(limit * len(source))
        self.seen: set[int] = set()

    def note(self, indices: np.ndarray) -> None:
        """Names those of `indices` on stderr that are new; GOOD means none.

        Raises UserError where there are more than allowed.
        """
        for index in sorted(set(indices[indices != GOOD].tolist()) - self.seen):
            self.seen.add(index)
            what = self._damage(index)
            if len(self.seen) > self.allowed:
                raise UserError(
                    f"{what} ({len(self.seen)} such images, data.max_bad allows {self.allowed} of "
                    f"{len(self._source)})"
                )
            print(
                f"warning: {what} (skipped; {len(self.seen)} of at most {self.allowed} such)",
                file=sys.stderr,
                flush=True,
            )

    def _damage(self, index: int) -> str:
        try:
            self._pixels(self._source[index])
        except BadImageError as error:
            return str(error)
        return f"example {index} could not be decoded when it was needed"
