"""Which example each row of each step shows, and by which transform."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inceptionnext_jax.data import sampler

NO_EXAMPLE = -1


class Order(Protocol):
    """Pure functions of the step and the position in the global batch; an order pickles."""

    @property
    def num_steps(self) -> int | None:
        """Steps until every example was shown; None where it never ends."""
        ...

    def transform(self, step: int) -> int:
        """Number of the transform, and so of the shape, of a step's batch."""
        ...

    def index(self, step: int, position: int) -> int:
        """The example at a position, or NO_EXAMPLE for a row of padding."""
        ...


@dataclass(frozen=True)
class ShuffledEpochs:
    """Training: each epoch is a permutation, cut into num_examples // batch_size steps.

    The rest of an epoch is left out, a different rest each epoch.
    """

    seed: int
    batch_size: int
    num_examples: int

    @property
    def num_steps(self) -> int | None:
        return None

    def transform(self, step: int) -> int:
        return 0

    def index(self, step: int, position: int) -> int:
        return sampler.train_index(
            seed=self.seed,
            step=step,
            position=position,
            batch_size=self.batch_size,
            num_examples=self.num_examples,
        )


@dataclass(frozen=True)
class OnceEach:
    """Evaluation: batch k shows example k * batch_size + p at position p, each exactly once."""

    batch_size: int
    num_examples: int

    @property
    def num_steps(self) -> int | None:
        return math.ceil(self.num_examples / self.batch_size)

    def transform(self, step: int) -> int:
        return 0

    def index(self, step: int, position: int) -> int:
        index = step * self.batch_size + position
        return index if index < self.num_examples else NO_EXAMPLE


@dataclass(frozen=True)
class ByShape:
    """Evaluation with several shapes: all examples of one shape, then all of the next.

    groups: the examples of each shape, in the order of the transforms; together each exactly once.
    """

    batch_size: int
    groups: Sequence[np.ndarray]

    @property
    def num_steps(self) -> int | None:
        return sum(map(self._steps_of, self.groups))

    def transform(self, step: int) -> int:
        return self._locate(step)[0]

    def index(self, step: int, position: int) -> int:
        number, step = self._locate(step)
        at = step * self.batch_size + position
        group = self.groups[number]
        return int(group[at]) if at < len(group) else NO_EXAMPLE

    def _steps_of(self, group: np.ndarray) -> int:
        return math.ceil(len(group) / self.batch_size)

    def _locate(self, step: int) -> tuple[int, int]:
        """Returns (number of the group, step within it)."""
        for number, group in enumerate(self.groups):
            if step < self._steps_of(group):
                return number, step
            step -= self._steps_of(group)
        raise IndexError(f"no step {step} after the last group")
