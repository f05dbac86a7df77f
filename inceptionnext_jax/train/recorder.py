"""From a step's metrics on the device to lines in the logs."""

import math
from collections.abc import Callable
from typing import Any

import jax

from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.plan import Plan
from inceptionnext_jax.train.prefetch import Feed
from inceptionnext_jax.train.progress import Clock, Reporter, duration
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
        *,
        every_steps: int,
        skips_allowed: int,
        sums: Sums | None = None,
        skipped_in_a_row: int = 0,
    ):
        """skips_allowed: updates in a row that may be left out for a non-finite loss or gradient.

        sums, skipped_in_a_row: up to the checkpoint that a run resumes from.
        """
        self._plan, self._writers, self._reporter = plan, writers, reporter
        self._every_steps, self._skips_allowed = every_steps, skips_allowed
        self.sums: Sums = sums or {}  # since the last line, of the updates that were made
        self.skipped_in_a_row = skipped_in_a_row
        self.clock = Clock()
        self.last_saved: int | None = None
        self._pending: tuple[int, Any, dict[str, float]] | None = None
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self._rate: float | None = None  # images per second, of the newest line

    def add(self, step: int, metrics: Any, hyper: dict[str, float]) -> None:
        """Takes the metrics of an update that has just been dispatched."""
        self._pending = (step, metrics, hyper)

    def settle(self, feed: Feed, extra: Callable[[], dict[str, float]] | None = None) -> None:
        """Fetches what `add` took; writes the step's line when one is due or there is `extra`.

        Raises RunError for more non-finite losses or gradients in a row than the config allows.
        """
        if self._pending is None:
            return
        (step, metrics, hyper), self._pending = self._pending, None
        metrics = jax.device_get(metrics)
        finite = bool(metrics["last"].pop("finite"))
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row > self._skips_allowed:
            raise RunError(self._not_finite(step, hyper["lr"]))
        for name, (total, count) in metrics["mean"].items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            if finite:
                pair[0] += float(total)
                pair[1] += float(count)
        self._steps += 1
        values: dict[str, Any] = {}
        if step % self._every_steps == 0 or step == self._plan.total_steps:
            values = self._train_values(metrics["last"], hyper, feed)
        values |= extra() if extra else {}
        if values:
            self.write(step, values)
        else:
            self._reporter.update(step)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Writes a line; of two for the same step, the second adds to the first."""
        epoch = step / self._plan.steps_per_epoch
        self._writers.write(step, {"epoch": epoch, **values})
        evaluated = any(key.startswith("eval") for key in values)
        self._reporter.line(step, self._summary(step, epoch, values), keep=evaluated)

    def _train_values(self, last: Any, hyper: dict[str, float], feed: Feed) -> dict[str, float]:
        seconds, waited = self.clock.seconds() - self._seconds, feed.waited - self._waited
        self._rate = self._steps * self._plan.batch_size / max(seconds, 1e-9)
        values = {
            f"train/{name}": total / count if count else math.nan
            for name, (total, count) in self.sums.items()
        }
        values |= {f"train/{name}": float(value) for name, value in hyper.items()}
        values |= {f"train/{name}": value.item() for name, value in last.items()}
        values["train/images_per_sec"] = self._rate
        values["train/input_wait"] = min(waited / max(seconds, 1e-9), 1.0)  # share of the time
        self.sums, self._steps = {}, 0
        self._seconds, self._waited = self.clock.seconds(), feed.waited
        return values

    def _summary(self, step: int, epoch: float, values: dict[str, Any]) -> str:
        parts = [f"epoch {epoch:.2f}"]
        for key, form in (
            ("train/loss", "loss {:.4f}"),
            ("train/lr", "lr {:.3g}"),
            ("train/images_per_sec", "{:.1f} images/s"),
            ("train/input_wait", "input wait {:.1%}"),
            ("eval/top1", "top-1 {:.4f}"),
            ("eval_ema/top1", "top-1 of the average {:.4f}"),
            ("eval/map", "mAP {:.4f}"),
            ("eval_ema/map", "mAP of the average {:.4f}"),
        ):
            if key in values:
                parts.append(form.format(values[key]))
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
