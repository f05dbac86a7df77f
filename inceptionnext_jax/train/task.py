"""What the loop needs to know of a job. Classification is one; segmentation could be another."""

from pathlib import Path
from typing import Any, Protocol

import jax

from inceptionnext_jax.train.plan import Plan

Batch = dict[str, jax.Array]
Sums = Any  # a pytree that adds up over batches


class Task(Protocol):
    """Pure functions for the jitted steps, and two on the host for what they add up to."""

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh variables: {"params": …, "batch_stats": …}."""

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        """A training batch as the loader made it -> as `loss` takes it.

        positions: [N] int32, places in the global batch; randomness is a function of them and key.
        """

    def hyper(self, step: int, plan: Plan) -> dict[str, float]:
        """On the host: what the loss needs besides "lr" for the update after `step` of them.

        The same names at each step; they are logged as train/<name>, and a variable of this name
        in "batch_stats" takes the value. E.g. the slope of an activation that changes over epochs.
        """

    def loss(
        self,
        params: Any,
        batch_stats: Any,
        batch: Batch,
        key: jax.Array,
        positions: jax.Array,
        hyper: dict[str, Any],
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        """(mean loss [], (new batch_stats, {"loss": (sum, count), …}))."""

    def predict(self, variables: dict[str, Any], batch: Batch) -> Any:
        """Outputs for an evaluation batch."""

    def metrics(self, outputs: Any, batch: Batch) -> Sums:
        """What a batch adds to the evaluation; rows whose "mask" is 0 add nothing."""

    def summarize(self, sums: Sums) -> tuple[dict[str, float], dict[str, Any]]:
        """On the host: (scalars to log, report to keep) of a whole evaluation."""

    def save_report(self, report: dict[str, Any], workdir: Path) -> None:
        """Writes a report's files, pictures included."""
