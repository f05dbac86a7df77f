"""From a step's metrics on the device to lines in the logs."""

import math
from collections.abc import Sequence
from typing import Any

import jax

from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.plan import Plan
from inceptionnext_jax.train.prefetch import Prefetcher
from inceptionnext_jax.train.progress import Clock, Reporter, duration
from inceptionnext_jax.train.step import StepScalars
from inceptionnext_jax.train.task import Metric
from inceptionnext_jax.workdir.writers import Writers

Sums = dict[str, list[float]]


class Recorder:
    """Averages metrics over the steps between two lines.

    A step's metrics are fetched when the next step is already under way, so that the device never
    waits for the host.
    """

    def __init__(
        self,
        plan: Plan,
        writers: Writers,
        reporter: Reporter,
        shown: Sequence[Metric],
        *,
        every_steps: int,
        skips_allowed: int,
        sums: Sums | None = None,
        skipped_in_a_row: int = 0,
    ):
        """shown: metrics with their formats on the console.

        skips_allowed: updates in a row that may be left out for a non-finite loss or gradient.

        sums, skipped_in_a_row: up to the checkpoint that a run resumes from.
        """
        self._plan, self._writers, self._reporter = plan, writers, reporter
        self._formats = console_formats(shown)
        self._every_steps, self._skips_allowed = every_steps, skips_allowed
        self.sums: Sums = sums or {}  # since the last line, of the updates that were made
        self.skipped_in_a_row = skipped_in_a_row
        self.clock = Clock()
        self.last_saved: int | None = None
        self._pending: tuple[int, Any, StepScalars] | None = None
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self._rate: float | None = None  # images per second, of the newest line

    def add(self, step: int, metrics: Any, scalars: StepScalars) -> None:
        """Takes the metrics of an update that has just been dispatched, and its host scalars."""
        self._pending = (step, metrics, scalars)

    def settle(self, prefetcher: Prefetcher) -> None:
        """Fetches what `add` took and writes the step's line where one is due."""
        if self._pending is not None:
            step = self._pending[0]
            self.write(step, self.fetch(prefetcher))

    def fetch(self, prefetcher: Prefetcher) -> dict[str, float]:
        """Fetches what `add` took; returns the values of the step's line, none if it is not due.

        Raises RunError for more non-finite losses or gradients in a row than the config allows.
        """
        if self._pending is None:
            return {}
        (step, metrics, scalars), self._pending = self._pending, None
        metrics = jax.device_get(metrics)
        finite = bool(metrics["last"].pop("finite"))
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row > self._skips_allowed:
            raise RunError(self._not_finite(step, scalars.lr))
        for name, (total, count) in metrics["mean"].items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            if finite:
                pair[0] += float(total)
                pair[1] += float(count)
        self._steps += 1
        if step % self._every_steps == 0 or step == self._plan.total_steps:
            return self._train_values(metrics["last"], scalars, prefetcher)
        return {}

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Writes a line if there are values; of two for a step, the second adds to the first."""
        if not values:
            self._reporter.update(step)
            return
        epoch = step / self._plan.steps_per_epoch
        self._writers.write(step, {"epoch": epoch, **values})
        evaluated = any(key.startswith("eval") for key in values)
        self._reporter.line(step, self._summary(step, epoch, values), keep=evaluated)

    def _train_values(
        self, last: Any, scalars: StepScalars, prefetcher: Prefetcher
    ) -> dict[str, float]:
        seconds, waited = self.clock.seconds() - self._seconds, prefetcher.waited - self._waited
        self._rate = self._steps * self._plan.batch_size / max(seconds, 1e-9)
        values = {
            f"train/{name}": total / count if count else math.nan
            for name, (total, count) in self.sums.items()
        }
        values |= {
            f"train/{name}": float(v) for name, v in ({"lr": scalars.lr} | scalars.host).items()
        }
        values |= {f"train/{name}": value.item() for name, value in last.items()}
        values["train/images_per_sec"] = self._rate
        values["train/input_wait"] = min(waited / max(seconds, 1e-9), 1.0)  # share of the time
        self.sums, self._steps = {}, 0
        self._seconds, self._waited = self.clock.seconds(), prefetcher.waited
        return values

    def _summary(self, step: int, epoch: float, values: dict[str, Any]) -> str:
        parts = [f"epoch {epoch:.2f}"]
        parts += [form.format(values[key]) for key, form in self._formats if key in values]
        if self._rate:
            left = (self._plan.total_steps - step) * self._plan.batch_size / self._rate
            parts.append(f"left {duration(left)}")
        return " | ".join(parts)

    def _not_finite(self, step: int, lr: float) -> str:
        saved = "there is no checkpoint" if self.last_saved is None else (
            f"the last good checkpoint is step {self.last_saved}"
        )  # fmt: skip
        if self._skips_allowed:
            times = f"{self.skipped_in_a_row} times in a row (skip_limit={self._skips_allowed}), "
            remedy = "raise skip_limit"
        else:
            times, remedy = "", "on_nan=skip"
        return (
            f"loss or gradient is not finite {times}at step {step} (lr {lr:g}); {saved}; lower "
            f"optim.lr, set optim.clip_norm or {remedy}, or find the operation with debug_nans=True"
        )


def console_formats(shown: Sequence[Metric]) -> list[tuple[str, str]]:
    """(key of a line, its format on the console), in the order in which they are printed."""
    metrics = [metric for metric in shown if metric.format]
    formats = [(f"train/{m.name}", m.format) for m in metrics if m.in_training]
    formats += [
        ("train/lr", "lr {:.3g}"),
        ("train/images_per_sec", "{:.1f} images/s"),
        ("train/input_wait", "input wait {:.1%}"),
    ]
    for metric in metrics:
        if not metric.in_training:
            label, value = metric.format.split(" {", 1)
            formats.append((f"eval/{metric.name}", metric.format))
            formats.append((f"eval_ema/{metric.name}", f"{label} of the average {{{value}"))
    return formats
