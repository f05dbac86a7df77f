"""The meaning of a config on this machine with these data: every derived value, computed once."""

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.groups import group_size
from inceptionnext_jax.models.layers.remat import MEANINGS
from inceptionnext_jax.train.schedule import ScheduleSettings, activation_slope

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}

Row = tuple[str, str, str]  # subject, requested, resolved


class Sizes(NamedTuple):
    """Numbers of examples of the data set."""

    train: int
    eval: int


class Footprint(NamedTuple):
    """Sizes of a task's network, for the estimate of memory.

    Attributes:
      parameters: Their number.
      activations: Bytes that the backward pass keeps of one example.
    """

    parameters: int
    activations: int


@dataclass(frozen=True)
class Memory:
    """Estimated bytes on a device: the state exactly, activations from the forward pass."""

    state: float
    activations: float

    def __str__(self) -> str:
        return (
            f"about {(self.state + self.activations) / 2**30:.3g} GiB a device, estimated "
            f"({self.state / 2**30:.3g} state, {self.activations / 2**30:.3g} activations)"
        )


@dataclass(frozen=True)
class Plan:
    """Derived values of a run. Batches count examples; `step` means an optimizer step."""

    sizes: Sizes
    devices: int
    mesh_data: int
    mesh_fsdp: int
    steps_per_epoch: int
    total_steps: int
    batch_size: int
    accumulate: int
    bn_group: int
    eval_batch: int
    workers: int
    schedule: ScheduleSettings
    memory: Memory | None
    notes: tuple[str, ...]

    @property
    def micro_batch(self) -> int:
        return self.batch_size // self.accumulate

    @property
    def device_batch(self) -> int:
        return self.micro_batch // self.devices


def make_plan(
    config: ConfigDict, sizes: Sizes, devices: int, footprint: Footprint | None = None
) -> Plan:
    """Resolves a valid config (`validate.check`).

    footprint: None leaves memory without an estimate.
    Raises UserError for data smaller than a batch, or a duration out of range.
    """
    if sizes.train < config.batch_size:
        raise UserError(
            f"batch_size={config.batch_size} exceeds the {sizes.train} training images of "
            f"data.name={config.data.name!r}; set it to at most that"
        )
    notes: list[str] = []
    per_epoch = steps_per_epoch(config, sizes.train)
    total_steps, schedule = _resolve_schedule(config, per_epoch, notes)
    _check_slope(config, total_steps / per_epoch, notes)
    _check_evaluation(config, sizes.eval, notes)
    batch, accumulate = config.batch_size, config.optim.accumulate
    return Plan(
        sizes=sizes,
        devices=devices,
        mesh_data=devices // config.mesh.fsdp,
        mesh_fsdp=config.mesh.fsdp,
        steps_per_epoch=per_epoch,
        total_steps=total_steps,
        batch_size=batch,
        accumulate=accumulate,
        bn_group=group_size(config.model.bn_group_size, batch),
        eval_batch=min(batch // accumulate, math.ceil(max(sizes.eval, 1) / devices) * devices),
        workers=_default_workers() if config.data.workers is None else config.data.workers,
        schedule=schedule,
        memory=_memory(config, footprint, devices) if footprint else None,
        notes=tuple(notes),
    )


def _check_evaluation(config: ConfigDict, images: int, notes: list[str]) -> None:
    """Notes data without an evaluation split; refuses a stop that needs one."""
    if images:
        return
    if config.stop.patience is not None:
        raise UserError(
            f"stop.patience={config.stop.patience} counts evaluations, and these data have no "
            f"evaluation split; leave it unset, or set data.eval_split or data.dir"
        )
    notes.append(
        "these data have no evaluation split: training runs without evaluations, and the newest "
        "checkpoint counts as the best"
    )


def steps_per_epoch(config: ConfigDict, num_train: int) -> int:
    """Whole batches in the training data."""
    return num_train // config.batch_size


def _default_workers() -> int:
    """One loader process per core but one, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min((cores or 1) - 1, 16)


def _check_slope(config: ConfigDict, epochs: float, notes: list[str]) -> None:
    """Notes a slope that is still below 1 in the run's last epoch."""
    s = config.schedule
    if not s.slope_epochs:
        return
    slope = activation_slope(math.ceil(epochs) - 1, s.slope_epochs, s.slope_name)
    if slope < 1:
        notes.append(
            f"the activations' slope ends at {slope:.3g}: the run has {epochs:.3g} epochs and "
            f"schedule.slope_epochs={s.slope_epochs:g}; the network can be deployed at 1 only"
        )


def _resolve_schedule(
    config: ConfigDict, steps_per_epoch: int, notes: list[str]
) -> tuple[int, ScheduleSettings]:
    """Total steps and the schedule, with the batch's learning rate and the warm-up that fits."""
    s, optim = config.schedule, config.optim
    peak, total_epochs = optim.lr, config.total_epochs
    warmup = s.warmup_epochs if s.warmup_steps is None else s.warmup_steps / steps_per_epoch
    if optim.lr_batch_size and optim.lr_batch_size != config.batch_size:
        peak = optim.lr * config.batch_size / optim.lr_batch_size
        notes.append(
            f"lr scaled from {optim.lr:g} to {peak:g}: batch_size={config.batch_size}, "
            f"optim.lr_batch_size={optim.lr_batch_size}"
        )
    total_steps = round((config.total_epochs + s.cooldown_epochs) * steps_per_epoch)
    if not 0 < total_steps < 2**31 - 1 and config.total_steps == 0:
        raise UserError(
            f"total_epochs={config.total_epochs:g} and schedule.cooldown_epochs="
            f"{s.cooldown_epochs:g} are {total_steps:g} steps; expected 1 to {2**31 - 2}"
        )
    if config.total_steps == 0 and warmup >= total_epochs:  # warmup_epochs has been checked
        raise UserError(
            f"schedule.warmup_steps={s.warmup_steps} must be less than the "
            f"{total_epochs * steps_per_epoch:g} steps of total_epochs={config.total_epochs:g}; "
            "shorten it, or train for longer"
        )
    if config.total_steps > 0:
        total_steps = config.total_steps
        total_epochs = total_steps / steps_per_epoch
        if warmup >= total_epochs:
            planned = max(config.total_epochs, warmup)
            shortened = total_epochs * warmup / planned if planned > warmup else total_epochs / 2
            notes.append(
                f"warm-up shortened from {warmup:g} to {shortened:.3g} epochs: the run has "
                f"{total_epochs:.3g}"
            )
            warmup = shortened
        if s.per == "epoch" and total_epochs <= 1:
            notes.append(
                "schedule.per=epoch and the run is no longer than an epoch: its rate stays at the "
                "first value; set schedule.per=step to see the whole curve"
            )
    return total_steps, ScheduleSettings(
        name=s.name,
        peak_lr=peak,
        warmup_lr=s.warmup_lr if s.warmup_factor is None else s.warmup_factor * peak,
        min_lr=s.min_lr,
        warmup_epochs=warmup,
        total_epochs=total_epochs,
        steps_per_epoch=steps_per_epoch,
        per=s.per,
        power=s.power,
        decay_epochs=tuple(s.decay_epochs),
        decay_rate=s.decay_rate,
        warmup=s.warmup,
    )


def rows(config: ConfigDict, plan: Plan) -> list[Row]:
    """Table rows (subject, requested, resolved) of all that does not depend on the task."""
    s = plan.schedule
    requested = (
        f"total_steps={config.total_steps}"
        if config.total_steps
        else f"{config.total_epochs:g} epochs + {config.schedule.cooldown_epochs:g} cool-down"
    )
    mesh = f"data={config.mesh.data}, fsdp={config.mesh.fsdp}"
    return [
        ("steps", requested, f"{plan.total_steps:,} ({plan.steps_per_epoch:,} an epoch)"),
        ("batch", f"{config.batch_size}", f"{plan.device_batch} × {plan.devices} devices × "
         f"{plan.accumulate} micro-batches"),
        ("mesh", mesh, f"data={plan.mesh_data}, fsdp={plan.mesh_fsdp}"),
        ("BatchNorm group", f"{config.model.bn_group_size}", f"{plan.bn_group} images"),
        ("optimizer", config.optim.name, _layers(config)),
        ("peak lr", f"{config.optim.lr:g} for {config.optim.lr_batch_size}", f"{s.peak_lr:g}"),
        ("schedule", f"{s.name} per {s.per}", f"{s.warmup_lr:g} → {s.peak_lr:g} in "
         f"{s.warmup_epochs:.4g} of {s.total_epochs:.4g} epochs{_course(s)}"),
        *_slope_rows(config),
        ("loader", f"workers={text(config.data.workers)}", f"{plan.workers} processes"),
        ("recomputation", f"remat={config.model.remat}", MEANINGS[config.model.remat]),
        ("memory", config.compute_dtype, str(plan.memory or "not estimated")),
        ("time left", "", "known after the first steps"),
    ]  # fmt: skip


def _layers(config: ConfigDict) -> str:
    decay, groups = config.optim.layer_decay, config.optim.layer_groups
    if decay is None:
        return "one rate for all layers"
    by = "" if groups == "block" else f", layers by {groups}"
    return f"rate × {decay:g} a layer downwards{by}"


def _slope_rows(config: ConfigDict) -> list[tuple[str, str, str]]:
    s = config.schedule
    if not s.slope_epochs:
        return []
    return [("activation slope", s.slope_name, f"0 → 1 in {s.slope_epochs:g} epochs")]


def _course(s: ScheduleSettings) -> str:
    """The course of the rate after the warm-up."""
    if s.name == "step":
        return f", × {s.decay_rate:g} after {', '.join(f'{e:g}' for e in s.decay_epochs)}"
    return "" if s.name == "constant" else f" → {s.min_lr:g}"


def text(value: object) -> str:
    return "unset" if value is None else str(value)


def _memory(config: ConfigDict, footprint: Footprint, devices: int) -> Memory:
    width = 8 if config.compute_dtype == "float64" else 4
    moments = 1 if config.optim.name == "sgd" else 2
    copies = 2 + moments + (config.ema_decay is not None)  # parameters, gradients, …, average
    per_device = config.batch_size // config.optim.accumulate // devices
    return Memory(
        state=footprint.parameters * width * copies / config.mesh.fsdp,
        activations=footprint.activations * per_device,
    )
