"""A run: its config with all that was made of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from inceptionnext_jax.data import BatchIterator
from inceptionnext_jax.train.evaluate import Evaluator
from inceptionnext_jax.train.plan import Plan
from inceptionnext_jax.train.progress import Reporter
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.workdir.folder import Workdir

# First step (0-based) -> this process's batches, one a step.
OpenTraining = Callable[[int], AbstractContextManager[BatchIterator]]


@dataclass(frozen=True)
class Run:
    """Everything that a run is made of.

    Attributes:
      evaluator: None where the data have no evaluation split.
    """

    config: ConfigDict
    plan: Plan
    task: Task
    mesh: Mesh
    workdir: Workdir
    open_training: OpenTraining
    evaluator: Evaluator | None
    description: dict[str, Any]  # goes into config.json and every checkpoint
    reporter: Reporter

    @property
    def higher_is_better(self) -> bool:
        """Direction of checkpoint.best_metric."""
        name = self.config.checkpoint.best_metric.rpartition("/")[2]
        return next(m.higher_is_better for m in self.task.metrics if m.name == name)
