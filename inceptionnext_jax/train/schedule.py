"""Learning-rate schedules: plain functions of the number of completed updates, in float64.

They run on the host and the rate enters the jitted step as an argument: so it is exact, the same
on every device, and a changed schedule needs no new compilation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class ScheduleSettings:
    """A schedule with everything resolved; rates per update, durations in epochs."""

    name: str
    peak_lr: float
    warmup_lr: float
    min_lr: float
    warmup_epochs: float
    total_epochs: float  # without the cool-down, in which the rate stays at its minimum
    steps_per_epoch: int
    per: str  # "epoch": constant within an epoch | "step"


def make_schedule(settings: ScheduleSettings) -> Schedule:
    """Returns step -> lr, where `step` updates are already done (0 for the first)."""
    if settings.per == "epoch":
        return lambda step: _per_epoch(settings, step // settings.steps_per_epoch)
    return lambda step: _per_step(settings, step)


def _per_epoch(s: ScheduleSettings, epoch: int) -> float:
    """timm's epoch schedule: time runs from epoch 0, so warm-up cuts off the curve's beginning.

    Hence a cosine never reaches its peak rate (timm's `CosineLRScheduler`, no warm-up prefix).
    """
    if epoch < s.warmup_epochs:
        return s.warmup_lr + epoch * (s.peak_lr - s.warmup_lr) / s.warmup_epochs
    return _decayed(s, epoch / s.total_epochs)


def _per_step(s: ScheduleSettings, step: int) -> float:
    """The iteration schedule of ConvNeXt and VanillaNet: warm-up, then the whole curve."""
    warmup_steps = int(s.warmup_epochs * s.steps_per_epoch)
    if step < warmup_steps:
        share = step / max(warmup_steps - 1, 1)  # the last warm-up step has the peak rate
        return s.warmup_lr + share * (s.peak_lr - s.warmup_lr)
    rest = int(s.total_epochs * s.steps_per_epoch) - warmup_steps
    return _decayed(s, (step - warmup_steps) / max(rest, 1))


def _decayed(s: ScheduleSettings, share: float) -> float:
    """The rate after a share of the curve; its last value beyond the end."""
    if s.name == "constant":
        return s.peak_lr
    if share >= 1:
        return s.min_lr
    return s.min_lr + 0.5 * (s.peak_lr - s.min_lr) * (1 + math.cos(math.pi * share))
