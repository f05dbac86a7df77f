"""A kind of task: how a config of it becomes a job that the loop can run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict
from PIL.Image import Image

from inceptionnext_jax.data.dataset import Source
from inceptionnext_jax.data.order import Order
from inceptionnext_jax.data.transform import Transform
from inceptionnext_jax.explain.legend import Entry
from inceptionnext_jax.train.plan import Footprint, Plan, Row
from inceptionnext_jax.train.task import Metric, Task
from inceptionnext_jax.types import HostBatch


class Data(Protocol):
    """An opened data set, as far as all tasks have it in common."""

    @property
    def num_train(self) -> int: ...

    @property
    def num_eval(self) -> int: ...


@dataclass(frozen=True)
class Input:
    """Examples of one split and their way into batches.

    Attributes:
      source: None where the data have no such split.
      transforms: One for each shape of batches.
      order: Makes the order of the examples from the batch size; None is the usual one of
        training or evaluation.
    """

    source: Source | None
    transforms: tuple[Transform, ...]
    order: Callable[[int], Order] | None = None

    def order_of(self, batch_size: int) -> Order | None:
        return None if self.order is None else self.order(batch_size)


@dataclass(frozen=True)
class Job:
    """A config's task with its input.

    Attributes:
      task: For the loop.
      train, evaluation: Its input.
      footprint: Sizes of the network, for the estimate of memory.
      rows: Rows of the plan's table that only this task has.
    """

    task: Task
    train: Input
    evaluation: Input
    footprint: Footprint
    rows: Callable[[Plan], list[Row]]


class Tiles(NamedTuple):
    """Pictures of augmented images.

    Attributes:
      rows: Rows of pictures of one size.
      legend: Colours in them and what they mean.
    """

    rows: list[list[Image]]
    legend: Sequence[Entry] = ()


@dataclass(frozen=True)
class Sheet:
    """A task's way to show its augmented images.

    Attributes:
      group_size: Consecutive images that are augmented together; None: each by itself.
      recipe: The steps of the augmentation in words and in order.
      draw: Augmented batches, as the task's `augment` returns them, -> a row of each.
    """

    group_size: int | None
    recipe: list[str]
    draw: Callable[[Sequence[HostBatch]], Tiles]


@dataclass(frozen=True)
class Inspection:
    """A look at a sample of the data before a run.

    Attributes:
      problems: Mistakes that no run should begin with, a sentence each.
      lines: Findings, for people.
      draw: Draws it, with some examples.
    """

    problems: list[str]
    lines: list[str]
    draw: Callable[[], Image]


class TaskKind(Protocol):
    """The functions of a task's module `build`.

    Attributes:
      METRICS: All metrics that its evaluations may report.
    """

    METRICS: tuple[Metric, ...]

    def check(self, config: ConfigDict) -> list[str]:
        """Everything wrong with the sections that are the task's own, a sentence each."""

    def open_data(self, config: ConfigDict) -> Any:
        """The config's data, a `Data`. Raises UserError when they are missing: how to get them."""

    def known_data(self, config: ConfigDict) -> Any | None:
        """Well-known data as published, for a plan before they are there; they cannot be read."""

    def check_data(self, config: ConfigDict, data: Any) -> list[str]:
        """Everything in which the config does not fit the data, a sentence each."""

    def build(self, config: ConfigDict, data: Any) -> Job:
        """The job of a valid config."""

    def sheet(self, config: ConfigDict, data: Any) -> Sheet:
        """The contact sheet of augmented images of a valid config (`explain augment`)."""

    def inspect(
        self, config: ConfigDict, data: Any, thorough: bool, say: Callable[[str], None]
    ) -> Inspection | None:
        """A look at some examples of a valid config's data; None where a task has none.

        thorough: Whether it may take a minute, for a plan, and `say` how far it is; otherwise it
        takes a second or two, before a run.
        """
