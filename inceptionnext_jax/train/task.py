"""The abstraction between the loop and a job: what a loss, an evaluation and a metric are.

An evaluation has two kinds of results. *Sums* add up on the device: hits, confusion matrices.
*Records* are arrays with a row for each example; they are fetched batch by batch, reduced on the
host to what is worth keeping, and gathered from all processes in the order of the data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from inceptionnext_jax.types import Batch, HostBatch, PyTree, Records, Sums, Variables


class Metric(NamedTuple):
    """A scalar that a task logs.

    Attributes:
      name: Logged as train/<name>, eval/<name> or eval_ema/<name>.
      higher_is_better: Decides which checkpoints are the best.
      format: On the console, such as "top-1 {:.4f}"; empty leaves it out.
      in_training: Whether the console shows it of training steps instead of evaluations.
    """

    name: str
    higher_is_better: bool
    format: str = ""
    in_training: bool = False


class Aux(NamedTuple):
    """Results of a loss beside its value.

    Attributes:
      batch_stats: The moved running statistics; {} for models without.
      sums: {name: (sum, count)} of the micro-batch, averaged between two lines of the log. An
        update with a sum that is not finite is left out.
    """

    batch_stats: PyTree
    sums: dict[str, tuple[jax.Array, jax.Array]]


class Difference(NamedTuple):
    """A difference between a task and the one that weights were trained for.

    Attributes:
      text: A phrase, such as "classes in another order: …".
      excludes_evaluation: Whether scores of the weights would mean nothing.
    """

    text: str
    excludes_evaluation: bool


class Task(Protocol):
    """Pure functions for the compiled steps, and a few on the host for their results."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All scalars of `report`; the first is the default of checkpoint.best_metric."""

    @property
    def body(self) -> str:
        """Prefix of the classifier network's own names in the variables, "" or "backbone/".

        Layer decay and `init_from` find them there.
        """

    @property
    def renewable(self) -> tuple[str, ...]:
        """Prefixes of variables that `init_from` may initialise anew."""

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables: "params" and, where there are any, "batch_stats" and "host"."""

    def augment(self, key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        """A training batch as the loader made it -> as `loss` takes it. Traced.

        positions: [N] int32, positions in the global batch; randomness is a function of them and
        of the key.
        """

    def host_scalars(self, step: int) -> dict[str, float]:
        """Scalars besides the rate that the host sets for the update after `step` others.

        The same names at each step. They are logged as train/<name>, and `loss` finds them in the
        collection "host"; those that the model has as variables are saved with the weights.
        """

    def loss(
        self, variables: Variables, batch: Batch, key: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, Aux]:
        """(mean loss [], the rest). Traced."""

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        """A batch's part of the evaluation; either may be {}. Traced.

        Rows whose "mask" is 0 must add nothing to the sums; their records are dropped.
        """

    def collect(self, records: Records, batch: HostBatch) -> list[Any]:
        """Returns an item to keep of each example of a batch, on the process that loaded it.

        Both arguments hold the rows of examples only, in the order of the data. Items are nested
        dicts and lists of numbers, strings, bytes and small arrays; they stay in memory.
        """

    def report(self, sums: Sums, kept: Sequence[Any]) -> tuple[dict[str, float], dict[str, Any]]:
        """(scalars to log, report to save) of a whole evaluation, on the host.

        kept: what `collect` returned, of all examples in the order of the data.
        """

    def save_report(self, report: dict[str, Any], folder: Path) -> None:
        """Writes a report's files, pictures included."""

    def metadata(self) -> dict[str, Any]:
        """Class names, preprocessing and the like: JSON that goes into every checkpoint."""

    def difference(self, metadata: Mapping[str, Any]) -> Difference | None:
        """Compares the metadata of a checkpoint, {} for other weights, with the task's own."""
