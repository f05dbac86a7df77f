"""Progress that a run finds in its workdir when it begins again."""

from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.train.run import Run
from inceptionnext_jax.workdir.description import changed_keys, check_resumable


@dataclass
class Best:
    """The best evaluation so far, and how many came after it."""

    value: float | None = None
    since: int = 0

    def exhausted(self, config: ConfigDict) -> bool:
        """Whether `stop.patience` evaluations have brought nothing better."""
        return config.stop.patience is not None and self.since >= config.stop.patience

    def update(self, value: float, higher_is_better: bool) -> None:
        better = self.value is None or (
            value > self.value if higher_is_better else value < self.value
        )
        self.value, self.since = (value, 0) if better else (self.value, self.since + 1)


@dataclass
class Resumed:
    """The newest checkpoint's progress; the defaults are those of a new run.

    Attributes:
      saved: Step of the checkpoint; None without one.
      best: The best evaluation before it.
      evaluation_pending: Whether an evaluation was due that was not completed.
      sums: Sums since the last line of the log.
      skipped_in_a_row: Updates left out up to it.
    """

    saved: int | None = None
    best: Best = field(default_factory=Best)
    evaluation_pending: bool = False
    sums: dict[str, list[float]] | None = None
    skipped_in_a_row: int = 0

    @property
    def step(self) -> int:
        """Completed updates."""
        return self.saved or 0


def read_resumed(run: Run, checkpoints: Checkpoints) -> Resumed:
    """Reads the newest checkpoint's progress and reports changed config keys.

    Raises UserError for a change that would make the rest another experiment.
    """
    step = checkpoints.latest_step()
    if step is None:
        return Resumed()
    meta: dict[str, Any] = checkpoints.meta(step)
    changes = changed_keys(meta["config"], run.description["config"])
    check_resumable(changes, run.workdir.path)
    for key, (before, now) in changes.items():
        run.reporter.say(f"changed since step {step}: {key} {before!r} → {now!r}")
    evaluation = checkpoints.evaluation(step)
    best = (evaluation and evaluation.best) or meta.get("best", {})
    return Resumed(
        saved=step,
        best=Best(**best),
        evaluation_pending=meta.get("evaluation_pending", False) and evaluation is None,
        sums=meta.get("sums"),
        skipped_in_a_row=meta.get("skipped_in_a_row", 0),
    )
