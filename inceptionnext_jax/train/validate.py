"""All that can be wrong with a config, found in one place and reported at once."""

import functools
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.augment.rand_augment import parse_rand_augment
from inceptionnext_jax.errors import UserError, first_line, suggestion
from inceptionnext_jax.models.layers import remat
from inceptionnext_jax.ops import depthwise
from inceptionnext_jax.train.layer_decay import layer_rule
from inceptionnext_jax.train.optimizer import DIRECTIONS

CHOICES: dict[str, tuple[str | bool, ...]] = {
    "task": ("classification",),
    "compute_dtype": ("float32", "bfloat16", "float64"),
    "data.interpolation": ("bicubic", "bilinear"),
    "augment.interpolation": ("random", "bicubic", "bilinear"),
    "augment.order": ("inceptionnext", "convnext"),
    "loss.name": ("softmax", "bce"),
    "optim.name": tuple(DIRECTIONS),
    "schedule.name": ("cosine", "constant", "poly", "step"),
    "schedule.per": ("epoch", "step"),
    "schedule.slope_name": ("linear", "cosine"),
    "on_nan": ("stop", "skip"),
    "model.depthwise_impl": ("auto", *sorted(depthwise.IMPLEMENTATIONS)),
    "model.remat": remat.CHOICES,
}
OPTIONAL = (
    "init_from",
    "ema_decay",
    "stop.patience",
    "data.dir",
    "data.workers",
    "data.crop_pct",
    "model.num_classes",
    "model.stage_depths",
    "model.token_mixer",
    "model.kernel_size",
    "model.mixer_ratio",
    "model.norm",
    "model.head",
    "model.layer_scale_init",
    "model.width",
    "model.act_num",
    "optim.clip_norm",
    "optim.layer_decay",
)
BELOW = {  # keys with a largest value: what lies above cannot be meant, and would hang or overflow
    "seed": 2**32,
    "total_steps": 2**31 - 1,
    "data.image_size": 2**14,
    "data.workers": 2**10,
    "model.num_classes": 2**24,
    "augment.erasing_count": 2**10,
    "batch_size": 2**31,
    "optim.accumulate": 2**31,
}
POSITIVE = (
    "batch_size",
    "optim.lr",
    "optim.eps",
    "optim.accumulate",
    "augment.erasing_count",
    "log.every_steps",
    "data.image_size",
    "data.crop_pct",
    "checkpoint.keep_latest",
    "mesh.fsdp",
    "model.num_classes",
    "stop.patience",
    "optim.clip_norm",
    "optim.layer_decay",
    "schedule.power",
    "schedule.decay_rate",
)
NOT_NEGATIVE = (
    "seed",
    "skip_limit",
    "total_epochs",
    "total_steps",
    "data.workers",
    "augment.color_jitter",
    "augment.mixup",
    "augment.cutmix",
    "augment.mix_group_size",
    "model.bn_group_size",
    "optim.lr_batch_size",
    "optim.weight_decay",
    "schedule.warmup_epochs",
    "schedule.warmup_lr",
    "schedule.min_lr",
    "schedule.cooldown_epochs",
    "schedule.slope_epochs",
    "checkpoint.every_steps",
    "checkpoint.keep_best",
    "eval.every_steps",
    "profile.start",
    "profile.steps",
)
UP_TO_ONE = (
    "data.max_bad",
    "augment.hflip",
    "augment.mix_prob",
    "augment.mix_switch_prob",
    "augment.random_erasing",
    "data.crop_pct",
    "optim.layer_decay",
    "schedule.decay_rate",
)
BELOW_ONE = (
    "model.drop_path_rate",
    "model.dropout_rate",
    "loss.label_smoothing",
    "optim.b1",
    "optim.b2",
    "optim.momentum",
    "ema_decay",
)
_OF_MODEL = (
    "model.head_init_scale",
    "model.layer_scale_init",
    "model.mixer_ratio",
    "model.width",
    "model.act_num",
)
METRICS = tuple(
    f"{weights}/{metric}"
    for weights in ("eval", "eval_ema")
    for metric in ("top1", "top5", "loss", "map")
)


def get(config: ConfigDict, key: str) -> Any:
    """The value under a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def check(config: ConfigDict, devices: int) -> list[str]:
    """Everything that is wrong with a config on so many devices: one sentence each."""
    found = check_kinds(config)
    if found:  # the other checks reckon with the values
        return found
    found = check_values(config)
    divisors = (config.batch_size, config.optim.accumulate, config.mesh.fsdp)
    groups = (config.model.bn_group_size, config.augment.mix_group_size)
    if min(divisors) > 0 and min(groups) >= 0:
        found += check_batch(config, devices)
    return found


def check_kinds(config: ConfigDict) -> list[str]:
    """Every key that is unset without being optional, or holds a number that is none."""
    numbers = {*POSITIVE, *NOT_NEGATIVE, *UP_TO_ONE, *BELOW_ONE, "mesh.data", *_OF_MODEL}
    pairs = ("augment.scale", "augment.ratio", "optim.lr_mult", "schedule.decay_epochs")
    found = []
    for key, value in flattened(config).items():
        if value is None:
            if key not in OPTIONAL:
                found.append(f"{key} is unset; give it a value")
        elif key in numbers and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (math.isfinite(value) or key in BELOW_ONE)
        ):
            found.append(f"{key}={value!r} must be a finite number")
        elif key in pairs and not isinstance(value, tuple | list):
            found.append(f"{key}={value!r} must be a sequence, such as (1.0, 2.0)")
    return found


def flattened(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}."""
    found: dict[str, Any] = {}
    for key in config:
        value = config[key]
        inside = flattened(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else None
        found |= {prefix + key: value} if inside is None else inside
    return found


def check_values(config: ConfigDict) -> list[str]:
    """Every value that is wrong by itself: one sentence each, naming the key."""
    found = list(_out_of_choice(config))
    found += _out_of_range(config)
    found += _bad_pairs(config)
    if config.model.name not in models.list_models():
        hint = suggestion(config.model.name, models.list_models())
        found.append(f"model.name={config.model.name!r} is not a known model{hint}")
    elif config.optim.layer_decay is not None:
        try:
            layer_rule(config.model.name)
        except UserError as error:
            found.append(str(error))
    if config.schedule.slope_epochs > 0 and not config.model.name.startswith("vanillanet"):
        found.append(
            f"schedule.slope_epochs={config.schedule.slope_epochs} is for the activations of "
            f"vanillanet_*, and model.name={config.model.name!r} has none with a slope; set it to 0"
        )
    depths = config.model.stage_depths
    if depths is not None and not (depths and all(_is_depth(depth) for depth in depths)):
        found.append(f"model.stage_depths={depths!r} must be positive whole numbers")
    return found or _bad_model(config)


def _is_depth(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000


def _bad_model(config: ConfigDict) -> list[str]:
    """What the model itself refuses: its settings among each other, and the image's size."""
    options = tuple((key, config.model[key]) for key in config.model if key != "name")
    return list(_refusals(config.model.name, options, config.data.image_size))


@functools.lru_cache(maxsize=8)  # a start asks twice, and tracing a large model takes a second
def _refusals(name: str, options: tuple[tuple[str, Any], ...], size: int) -> tuple[str, ...]:
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    try:
        model = models.create_model(name, **{**dict(options), "num_classes": 2})
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    except UserError as error:
        return (f"model: {error}",)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return (f"model.name={name!r} cannot be built for {size} pixels ({first_line(error)})",)
    return ()


def _out_of_choice(config: ConfigDict) -> Iterator[str]:
    for key, choices in CHOICES.items():
        value = get(config, key)
        if value not in choices:
            names = [str(choice) for choice in choices]
            hint = suggestion(str(value), names)
            yield f"{key}={value!r} is not one of {', '.join(names)}{hint}"


def _out_of_range(config: ConfigDict) -> list[str]:
    bounds = (
        (POSITIVE, "> 0", lambda value: value > 0),
        (NOT_NEGATIVE, ">= 0", lambda value: value >= 0),
        (UP_TO_ONE, "in [0, 1]", lambda value: 0 <= value <= 1),
        (BELOW_ONE, "in [0, 1)", lambda value: 0 <= value < 1),
    )
    found: dict[str, str] = {}
    for keys, expected, holds in bounds:
        for key in keys:
            value = get(config, key)
            # `not holds` also refuses nan.
            if value is not None and not holds(value):
                found.setdefault(key, f"{key}={value!r} must be {expected}")
    for key, limit in BELOW.items():
        value = get(config, key)
        if value is not None and value >= limit:
            found.setdefault(key, f"{key}={value!r} must be < {limit}")
    return list(found.values())


def _bad_pairs(config: ConfigDict) -> list[str]:
    found = []
    for key in ("scale", "ratio"):
        value = config.augment[key]
        numbers = all(isinstance(v, (int, float)) for v in value)
        if len(value) != 2 or not numbers or not 0 < value[0] <= value[1]:
            found.append(f"augment.{key}={value!r} must be two numbers, 0 < low <= high")
        elif key == "scale" and value[1] > 1:
            found.append(f"augment.scale={value!r} must not exceed 1: it is a share of the area")
    if config.mesh.data != -1 and config.mesh.data < 1:
        found.append(f"mesh.data={config.mesh.data} must be > 0, or -1 for all devices")
    if config.total_steps == 0 and config.total_epochs <= 0:
        found.append(f"total_epochs={config.total_epochs} must be > 0 (or set total_steps)")
    if config.total_steps == 0 and config.schedule.warmup_epochs >= config.total_epochs > 0:
        found.append(
            f"schedule.warmup_epochs={config.schedule.warmup_epochs} must be less than "
            f"total_epochs={config.total_epochs}"
        )
    found += _bad_decay_epochs(config.schedule)
    metric = config.checkpoint.best_metric
    if metric not in METRICS:
        found.append(f"checkpoint.best_metric={metric!r} is not one of {', '.join(METRICS)}")
    elif metric.startswith("eval_ema") and config.ema_decay is None:
        found.append(f"checkpoint.best_metric={metric!r} needs ema_decay, which is unset")
    try:
        parse_rand_augment(config.augment.rand_augment)
    except UserError as error:
        found.append(str(error))
    return found + _bad_patterns(config)


def _bad_decay_epochs(schedule: ConfigDict) -> list[str]:
    epochs = schedule.decay_epochs
    numbers = all(isinstance(epoch, (int, float)) and epoch > 0 for epoch in epochs)
    if not numbers or list(epochs) != sorted(set(epochs)):
        return [f"schedule.decay_epochs={epochs!r} must be numbers > 0, each above the one before"]
    if schedule.name == "step" and not epochs:
        return ["schedule.name='step' needs schedule.decay_epochs, which is empty; e.g. (27, 33)"]
    return []


def _bad_patterns(config: ConfigDict) -> list[str]:
    found = []
    patterns = {"optim.freeze": config.optim.freeze}
    for entry in config.optim.lr_mult:
        if not (isinstance(entry, (tuple, list)) and len(entry) == 2):
            found.append(f"optim.lr_mult={entry!r} must be a pair (regex, factor)")
        elif not isinstance(entry[1], (int, float)) or not 0 <= entry[1] < math.inf:
            found.append(f"optim.lr_mult={entry!r}: the factor must be a number >= 0")
        else:
            patterns[f"optim.lr_mult[{entry[0]!r}]"] = entry[0]
    for key, pattern in patterns.items():
        try:
            re.compile(str(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            found.append(f"{key}={pattern!r} is not a regular expression ({error})")
    return found


def nearest_multiples(value: int, of: int) -> str:
    """ "992 or 1024": the multiples of `of` on both sides of `value`."""
    below, above = value // of * of, (value // of + 1) * of
    return f"{below} or {above}" if below else f"{above}"


def check_batch(config: ConfigDict, devices: int) -> list[str]:
    """Every way in which the batch cannot be divided over devices, micro-batches and groups."""
    found = []
    fsdp, data = config.mesh.fsdp, config.mesh.data
    if devices % fsdp:
        found.append(f"mesh.fsdp={fsdp} does not divide the {devices} devices")
    elif data != -1 and data * fsdp != devices:
        found.append(
            f"mesh.data={data} × mesh.fsdp={fsdp} is {data * fsdp}, expected the "
            f"{devices} devices; set mesh.data={devices // fsdp} or -1"
        )
    batch, parts = config.batch_size, devices * config.optim.accumulate
    if batch % parts:
        found.append(
            f"batch_size={batch} is not a multiple of {devices} devices × "
            f"optim.accumulate={config.optim.accumulate}; try {nearest_multiples(batch, parts)}"
        )
        return found
    found += _check_group("model.bn_group_size", config.model.bn_group_size, config)
    if config.augment.mixup > 0 or config.augment.cutmix > 0:
        found += _check_group("augment.mix_group_size", config.augment.mix_group_size, config)
        group = group_size(config.augment.mix_group_size, batch)
        if group % 2:
            found.append(
                f"augment.mix_group_size={group} is odd: images are mixed in pairs; "
                f"try {group - 1 or 2} or {group + 1}"
            )
    return found


def group_size(requested: int, batch_size: int) -> int:
    """Images that form one group: 0 means all, and a smaller batch is one group."""
    return min(requested or batch_size, batch_size)


def _check_group(key: str, requested: int, config: ConfigDict) -> Iterator[str]:
    batch, accumulate = config.batch_size, config.optim.accumulate
    if requested == 0 and accumulate > 1:
        yield (
            f"{key}=0 (one group of the whole batch) cannot be had with "
            f"optim.accumulate={accumulate}: a group lies within a micro-batch of "
            f"{batch // accumulate} images; set it to at most that"
        )
        return
    group = group_size(requested, batch)
    if batch % group:
        yield (
            f"batch_size={batch} is not a multiple of {key}={requested}; "
            f"try {nearest_multiples(batch, group)}"
        )
    elif batch // accumulate % group:
        yield (
            f"{key}={requested} does not lie within the micro-batches of {batch // accumulate} "
            f"images (batch_size={batch} / optim.accumulate={accumulate}); set it to a divisor"
        )


def refuse(problems: list[str]) -> None:
    """Raises one UserError for all problems, a line each; does nothing when there are none."""
    if problems:
        raise UserError("\n".join(problems))
