"""Damaged examples: skipped alike in every run, counted, named, and limited."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from inceptionnext_jax.data.dataset import Example, Source
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.errors import UserError

GOOD = -1  # in a batch's "bad": this row shows the example that it should
_TRIES = 100  # neighbours that may stand in for a damaged example


def first_good(source: Source, index: int, load: Callable[[Example], Any]) -> tuple[Any, int]:
    """Loads example `index`, or the next one in the source's order that is not damaged.

    A function of the data alone, so a resumed run and one on other processes see the same.
    Returns (what `load` returned, the index where that example was damaged and otherwise GOOD).
    """
    for step in range(min(_TRIES, len(source))):
        try:
            return load(source[(index + step) % len(source)]), index if step else GOOD
        except BadImageError as error:
            last = error
    raise UserError(f"none of {_TRIES} images in a row can be decoded; the last: {last}")


class BadImages:
    """The damaged examples that a process has met in one split."""

    def __init__(self, source: Source, load: Callable[[Example], Any], limit: float):
        """limit: share of the split that may be damaged."""
        self._source, self._load = source, load
        self.allowed = int(limit * len(source))
        self.seen: set[int] = set()

    def note(self, indices: np.ndarray) -> None:
        """Names those of `indices` on stderr that are new; GOOD stands for no damage.

        Raises UserError when there are more than allowed.
        """
        for index in sorted(set(indices[indices != GOOD].tolist()) - self.seen):
            self.seen.add(index)
            damage = self._damage(index)
            if len(self.seen) > self.allowed:
                raise UserError(
                    f"{damage} ({len(self.seen)} such images, data.max_bad allows {self.allowed} "
                    f"of {len(self._source)})"
                )
            print(
                f"warning: {damage} (skipped; {len(self.seen)} of at most {self.allowed} such)",
                file=sys.stderr,
                flush=True,
            )

    def _damage(self, index: int) -> str:
        try:
            self._load(self._source[index])
        except BadImageError as error:
            return str(error)
        return f"example {index} could not be decoded when it was needed"
