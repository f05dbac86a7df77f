"""What a config means on this machine with this data: every derived value, computed once."""

import math
import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.groups import group_size
from inceptionnext_jax.models.layers.remat import MEANINGS
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.train import validate
from inceptionnext_jax.train.schedule import ScheduleSettings, activation_slope

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


@dataclass(frozen=True)
class Sizes:
    """Of the data set."""

    train: int
    eval: int
    num_classes: int


@dataclass(frozen=True)
class Plan:
    """Derived values of a run. Batches count images; `step` means an optimizer step."""

    sizes: Sizes
    devices: int
    mesh_data: int
    mesh_fsdp: int
    steps_per_epoch: int
    total_steps: int
    batch_size: int
    accumulate: int
    bn_group: int
    mix_group: int
    eval_batch: int
    num_classes: int
    crop_pct: float
    workers: int
    schedule: ScheduleSettings
    notes: tuple[str, ...]

    @property
    def micro_batch(self) -> int:
        return self.batch_size // self.accumulate

    @property
    def device_batch(self) -> int:
        return self.micro_batch // self.devices


def make_plan(config: ConfigDict, sizes: Sizes, devices: int) -> Plan:
    """Resolves a config without mistakes; raises UserError for what the data rule out."""
    validate.refuse(_check_data(config, sizes))
    notes: list[str] = []
    steps_per_epoch = sizes.train // config.batch_size
    total_steps, schedule = _resolve_schedule(config, steps_per_epoch, notes)
    info = models.model_info(config.model.name)
    _check_slope(config, total_steps / steps_per_epoch, notes)
    batch, accumulate = config.batch_size, config.optim.accumulate
    return Plan(
        sizes=sizes,
        devices=devices,
        mesh_data=devices // config.mesh.fsdp,
        mesh_fsdp=config.mesh.fsdp,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        batch_size=batch,
        accumulate=accumulate,
        bn_group=group_size(config.model.bn_group_size, batch),
        mix_group=group_size(config.augment.mix_group_size, batch),
        eval_batch=min(batch // accumulate, math.ceil(max(sizes.eval, 1) / devices) * devices),
        num_classes=config.model.num_classes or sizes.num_classes,
        crop_pct=config.data.crop_pct or info.crop_pct,
        workers=_default_workers() if config.data.workers is None else config.data.workers,
        schedule=schedule,
        notes=tuple(notes),
    )


def _default_workers() -> int:
    """One loader process per core but one, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min((cores or 1) - 1, 16)


def _check_data(config: ConfigDict, sizes: Sizes) -> list[str]:
    found = []
    if sizes.train < config.batch_size:
        found.append(
            f"batch_size={config.batch_size} exceeds the {sizes.train} training images of "
            f"data.name={config.data.name!r}; set it to at most that"
        )
    wanted = config.model.num_classes
    if wanted is not None and wanted < sizes.num_classes:
        found.append(
            f"model.num_classes={wanted} is less than the {sizes.num_classes} classes of "
            f"data.name={config.data.name!r}; leave it unset to take the data's"
        )
    return found


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
    peak, warmup, total_epochs = optim.lr, s.warmup_epochs, config.total_epochs
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
        warmup_lr=s.warmup_lr,
        min_lr=s.min_lr,
        warmup_epochs=warmup,
        total_epochs=total_epochs,
        steps_per_epoch=steps_per_epoch,
        per=s.per,
        power=s.power,
        decay_epochs=tuple(s.decay_epochs),
        decay_rate=s.decay_rate,
    )


def create_model(config: ConfigDict, plan: Plan):
    """The config's model, a Linen module."""
    options = {key: config.model[key] for key in config.model if key != "name"}
    options["num_classes"] = plan.num_classes
    return models.create_model(config.model.name, **options, dtype=DTYPES[config.compute_dtype])


def rows(config: ConfigDict, plan: Plan) -> list[tuple[str, str, str]]:
    """The table "what, requested, resolved" that a run prints before its first step."""
    model = create_model(config, plan)
    size = config.data.image_size
    macs, params = count_macs(model, size), count_params(model, size)
    s = plan.schedule
    requested = (
        f"total_steps={config.total_steps}"
        if config.total_steps
        else f"{config.total_epochs:g} epochs + {config.schedule.cooldown_epochs:g} cool-down"
    )
    mesh = f"data={config.mesh.data}, fsdp={config.mesh.fsdp}"
    return [
        ("model", config.model.name, f"{params:,} parameters, {macs:,} MACs"),
        ("data", config.data.name, f"{plan.sizes.train:,} train, {plan.sizes.eval:,} eval"),
        ("classes", _text(config.model.num_classes), f"{plan.num_classes:,}"),
        ("steps", requested, f"{plan.total_steps:,} ({plan.steps_per_epoch:,} an epoch)"),
        ("batch", f"{config.batch_size}", f"{plan.device_batch} × {plan.devices} devices × "
         f"{plan.accumulate} micro-batches"),
        ("mesh", mesh, f"data={plan.mesh_data}, fsdp={plan.mesh_fsdp}"),
        ("BatchNorm group", f"{config.model.bn_group_size}", f"{plan.bn_group} images"),
        ("mixing group", f"{config.augment.mix_group_size}", f"{plan.mix_group} images"),
        ("optimizer", config.optim.name, _layers(config)),
        ("peak lr", f"{config.optim.lr:g} for {config.optim.lr_batch_size}", f"{s.peak_lr:g}"),
        ("schedule", f"{s.name} per {s.per}", f"{s.warmup_lr:g} → {s.peak_lr:g} in "
         f"{s.warmup_epochs:.4g} of {s.total_epochs:.4g} epochs{_course(s)}"),
        *_slope_rows(config),
        ("evaluation", f"{config.data.image_size} px", f"{config.data.interpolation}, crop "
         f"{plan.crop_pct:g}, batch {plan.eval_batch}"),
        ("loader", f"workers={_text(config.data.workers)}", f"{plan.workers} processes"),
        ("recomputation", f"remat={config.model.remat}", MEANINGS[config.model.remat]),
        ("memory", config.compute_dtype, _memory(config, plan, model, params)),
        ("time left", "", "known after the first steps"),
    ]  # fmt: skip


def _layers(config: ConfigDict) -> str:
    decay = config.optim.layer_decay
    return "one rate for all layers" if decay is None else f"rate × {decay:g} a layer downwards"


def _slope_rows(config: ConfigDict) -> list[tuple[str, str, str]]:
    s = config.schedule
    if not s.slope_epochs:
        return []
    return [("activation slope", s.slope_name, f"0 → 1 in {s.slope_epochs:g} epochs")]


def _course(s: ScheduleSettings) -> str:
    """What follows the warm-up."""
    if s.name == "step":
        return f", × {s.decay_rate:g} after {', '.join(f'{e:g}' for e in s.decay_epochs)}"
    return "" if s.name == "constant" else f" → {s.min_lr:g}"


def _text(value: object) -> str:
    return "unset" if value is None else str(value)


def _memory(config: ConfigDict, plan: Plan, model, params: int) -> str:
    """A device's memory, estimated: state exactly, activations from the forward pass's outputs."""
    width = 8 if config.compute_dtype == "float64" else 4
    moments = 1 if config.optim.name == "sgd" else 2
    copies = 2 + moments + (config.ema_decay is not None)  # parameters, gradients, …, average
    state = params * width * copies / plan.mesh_fsdp
    size = config.data.image_size
    if hasattr(model, "depthwise_impl"):
        # What another implementation sums up tap by tap is not kept.
        model = model.clone(depthwise_impl="conv")
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x))(variables, image)
    saved = sum(
        math.prod(out.aval.shape) * out.aval.dtype.itemsize
        for equation in jaxpr.eqns
        if equation.primitive.name in ("conv_general_dilated", "dot_general", "erf", "mul")
        for out in equation.outvars
    )
    activations = saved * plan.device_batch
    return (
        f"about {(state + activations) / 2**30:.3g} GiB a device, estimated "
        f"({state / 2**30:.3g} state, {activations / 2**30:.3g} activations)"
    )
