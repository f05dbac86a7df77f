"""Learning-rate schedules: plain functions of the number of completed updates, in float64.

They run on the host, and the rate enters the jitted step as an argument: it is exact, the same on
every device, and a changed schedule needs no new compilation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_number
from inceptionnext_jax.models.registry import list_models, model_info

Schedule = Callable[[int], float]
CURVES = ("cosine", "constant", "poly", "step")
UNITS = ("epoch", "step")  # in which the rate is constant
SLOPE_CURVES = ("linear", "cosine")
WARMUPS = ("scaled", "before")  # of poly and step


@dataclass(frozen=True)
class ScheduleSettings:
    """A schedule with everything resolved; rates per update, durations in epochs."""

    name: str  # one of CURVES
    peak_lr: float
    warmup_lr: float
    min_lr: float
    warmup_epochs: float
    total_epochs: float  # without the cool-down, in which the rate stays at its minimum
    steps_per_epoch: int
    per: str  # "epoch": constant within an epoch | "step"
    power: float = 1.0  # poly only
    decay_epochs: tuple[float, ...] = ()  # step only
    decay_rate: float = 0.1  # step only
    warmup: str = "scaled"  # poly and step only: one of WARMUPS


def make_schedule(settings: ScheduleSettings) -> Schedule:
    """Returns step -> lr, where `step` updates are already done (0 for the first)."""
    if settings.name in ("poly", "step"):
        return lambda step: _openmmlab(settings, step)
    if settings.per == "epoch":
        return lambda step: _per_epoch(settings, step // settings.steps_per_epoch)
    return lambda step: _per_step(settings, step)


def check_schedule(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the section and the run's durations: one sentence each."""
    run, section = Section(config), Section(config.schedule, "schedule")
    run.number("total_epochs", at_least=0)
    run.count("total_steps", below=2**31 - 1)
    section.choice("name", CURVES)
    section.choice("per", UNITS)
    section.choice("slope_name", SLOPE_CURVES)
    durations, rates = ("warmup_epochs", "cooldown_epochs", "slope_epochs"), ("warmup_lr", "min_lr")
    for key in (*durations, *rates):
        section.number(key, at_least=0)
    section.choice("warmup", WARMUPS)
    section.count("warmup_steps", optional=True)
    section.fraction("warmup_factor", optional=True)
    section.number("power", above=0)
    section.fraction("decay_rate", above=0)
    section.sequence("decay_epochs")
    if run.is_set("total_epochs", "total_steps") and config.total_steps == 0:
        _check_epochs(config, run, section)
    if section.is_set("name", "decay_epochs"):
        _check_decay(config.schedule, section)
    if section.is_set("slope_epochs"):
        _check_slope(config, section)
    return run.problems + section.problems


def _check_epochs(config: ConfigDict, run: Section, section: Section) -> None:
    if config.total_epochs <= 0:
        run.fail("total_epochs", "must be > 0 (or set total_steps)")
    elif config.schedule.warmup_steps is not None:
        return  # compared with the run's steps when those are known
    elif section.is_set("warmup_epochs") and config.schedule.warmup_epochs >= config.total_epochs:
        expected = f"must be less than total_epochs={config.total_epochs}"
        section.fail("warmup_epochs", expected)


def _check_decay(s: ConfigDict, section: Section) -> None:
    epochs = s.decay_epochs
    numbers = all(is_number(epoch) and epoch > 0 for epoch in epochs)
    if not numbers or list(epochs) != sorted(set(epochs)):
        section.fail("decay_epochs", "must be numbers > 0, each above the one before")
    elif s.name == "step" and not epochs:
        needs = "needs schedule.decay_epochs, which is empty; e.g. (27, 33)"
        section.fail("name", needs)


def _check_slope(config: ConfigDict, section: Section) -> None:
    name = config.model.name
    if config.schedule.slope_epochs > 0 and name in list_models() and not _has_slope(name):
        section.fail(
            "slope_epochs",
            "is for the activations of vanillanet_*, and "
            f"model.name={name!r} has none with a slope; set it to 0",
        )


def _has_slope(model_name: str) -> bool:
    return "slope" in model_info(model_name).family.host_scalars


def activation_slope(epoch: int, slope_epochs: float, name: str) -> float:
    """Returns VanillaNet's slope in an epoch, which rises from 0 to 1 at `slope_epochs`.

    As in the authors' code; the paper's lambda is 1 minus it (section 3.1).

    Args:
      epoch: Completed epochs.
      slope_epochs: > 0.
      name: "linear", or "cosine" (half a period).
    """
    share = min(epoch / slope_epochs, 1.0)
    return share if name == "linear" else 0.5 * (1 - math.cos(math.pi * share))


def _per_epoch(s: ScheduleSettings, epoch: int) -> float:
    """timm's epoch schedule: the curve starts at epoch 0, so warm-up cuts off its beginning.

    Hence a cosine never reaches its peak rate (timm's `CosineLRScheduler`, no warm-up prefix).
    """
    if epoch < s.warmup_epochs:
        return s.warmup_lr + epoch * (s.peak_lr - s.warmup_lr) / s.warmup_epochs
    return _cosine(s, epoch / s.total_epochs)


def _per_step(s: ScheduleSettings, step: int) -> float:
    """The iteration schedule of ConvNeXt and VanillaNet: warm-up, then the whole curve."""
    warmup_steps = _steps(s, s.warmup_epochs)
    if step < warmup_steps:
        share = step / max(warmup_steps - 1, 1)  # the last warm-up step has the peak rate
        return s.warmup_lr + share * (s.peak_lr - s.warmup_lr)
    rest = _steps(s, s.total_epochs) - warmup_steps
    return _cosine(s, (step - warmup_steps) / max(rest, 1))


def _cosine(s: ScheduleSettings, share: float) -> float:
    """Returns the rate after a share of the curve, or the constant; beyond the end, the minimum."""
    if s.name == "constant":
        return s.peak_lr
    if share >= 1:
        return s.min_lr
    return s.min_lr + 0.5 * (s.peak_lr - s.min_lr) * (1 + math.cos(math.pi * share))


def _openmmlab(s: ScheduleSettings, step: int) -> float:
    """The schedules of dense prediction, as mmsegmentation and mmdetection count.

    scaled: the curve runs from the start, and a factor that rises linearly from
    warmup_lr / peak_lr to 1 scales it during warm-up (mmcv 1.x, `LrUpdaterHook`; the papers' runs).
    before: the rate rises linearly to its peak in the last update of the warm-up, and the
    polynomial begins after it and reaches its minimum in the last update (mmengine).
    """
    if s.per == "epoch":
        time, warmup, total = step // s.steps_per_epoch, s.warmup_epochs, s.total_epochs
        decay_times = s.decay_epochs
    else:
        time, warmup, total = step, _steps(s, s.warmup_epochs), _steps(s, s.total_epochs)
        decay_times = tuple(_steps(s, epochs) for epochs in s.decay_epochs)
    before = s.warmup == "before"
    if before and time < warmup:
        return s.warmup_lr + (s.peak_lr - s.warmup_lr) * time / max(warmup - 1, 1)
    if s.name == "poly":
        share = (time - warmup) / max(total - warmup - 1, 1) if before else time / total
        rate = (s.peak_lr - s.min_lr) * max(1 - share, 0) ** s.power + s.min_lr
    else:
        rate = s.peak_lr * s.decay_rate ** sum(time >= decay for decay in decay_times)
    if time < warmup:
        rate *= 1 - (1 - time / warmup) * (1 - s.warmup_lr / s.peak_lr)
    return rate


def _steps(s: ScheduleSettings, epochs: float) -> int:
    return round(epochs * s.steps_per_epoch)
