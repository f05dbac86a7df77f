"""From a classification config to its task and input."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn
from ml_collections import ConfigDict

from inceptionnext_jax import data, models
from inceptionnext_jax.augment.recipe import Augment, AugmentSettings, make_augment
from inceptionnext_jax.data.crop import RandomResizedCrop
from inceptionnext_jax.groups import group_size
from inceptionnext_jax.models.footprint import activation_bytes
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.pretrained.preprocessing import Preprocessing
from inceptionnext_jax.tasks.classification.check import check
from inceptionnext_jax.tasks.classification.losses import LOSSES
from inceptionnext_jax.tasks.classification.multilabel import MAP, MultiLabel
from inceptionnext_jax.tasks.classification.sheet import sheet
from inceptionnext_jax.tasks.classification.task import LOSS, TOP1, TOP5, Classification
from inceptionnext_jax.tasks.classification.transform import (
    ONE_LABEL,
    EvalTransform,
    TrainTransform,
    multi_hot_labels,
)
from inceptionnext_jax.tasks.kind import Input, Job
from inceptionnext_jax.train.plan import DTYPES, Footprint, Plan, Row, steps_per_epoch, text
from inceptionnext_jax.train.schedule import activation_slope

# A `TaskKind`.
__all__ = [
    "METRICS",
    "build",
    "check",
    "check_data",
    "inspect",
    "known_data",
    "open_data",
    "sheet",
]

METRICS = (TOP1, TOP5, LOSS, MAP)


def open_data(config: ConfigDict) -> data.Dataset:
    """The config's data. Raises UserError when they are missing: how to get them."""
    return data.open_dataset(
        config.data.name,
        config.data.dir,
        train_split=config.data.train_split,
        eval_split=config.data.eval_split,
        image_size=config.data.image_size,
        num_classes=config.model.num_classes,
        seed=config.seed,
    )


def known_data(config: ConfigDict) -> data.Dataset | None:
    """A well-known data set as published, for plans; its examples cannot be read."""
    return data.known_dataset(config.data.name)


def check_data(config: ConfigDict, dataset: data.Dataset) -> list[str]:
    """Everything in which the config does not fit the labels of the data, a sentence each."""
    metric, found = config.checkpoint.best_metric, []
    wanted, num_classes = config.model.num_classes, dataset.num_classes
    if dataset.multi_label:
        if config.loss.name != "bce":
            found.append(
                f"loss.name={config.loss.name} takes one label an image, and these data have "
                f"several; set loss.name=bce"
            )
        if wanted not in (None, num_classes):
            found.append(
                f"model.num_classes={wanted}, but multi-label data need as many "
                f"as they have labels; leave it unset or set it to {num_classes}"
            )
    elif wanted is not None and wanted < num_classes:
        found.append(
            f"model.num_classes={wanted} is less than the {num_classes} classes of "
            f"data.name={config.data.name!r}; leave it unset to take the data's"
        )
    if metric.endswith("/map" if not dataset.multi_label else ("/top1", "/top5")):
        kind, instead = ("several labels", "map") if dataset.multi_label else ("one label", "top1")
        found.append(
            f"checkpoint.best_metric={metric} is not measured on images with {kind}; "
            f"set it to {metric.split('/')[0]}/{instead}"
        )
    return found


def inspect(
    config: ConfigDict, dataset: data.Dataset, thorough: bool, say: Callable[[str], None]
) -> None:
    """Nothing: folders and TFDS data have their classes by construction."""


def build(config: ConfigDict, dataset: data.Dataset) -> Job:
    """The task and its input."""
    num_classes = config.model.num_classes or dataset.num_classes
    model = create_model(config, num_classes)
    before = preprocessing(config)
    label = multi_hot_labels(dataset.num_classes) if dataset.multi_label else ONE_LABEL
    task = (MultiLabel if dataset.multi_label else Classification)(
        model=model,
        preprocessing=before,
        class_names=dataset.class_names,
        augment_fn=make_augmentation(config, num_classes),
        loss_fn=LOSSES[config.loss.name],
        slope=_slope(config, steps_per_epoch(config, dataset.num_train)),
        dtype=DTYPES[config.compute_dtype],
    )
    size = config.data.image_size
    footprint = Footprint(count_params(model, size), activation_bytes(model, size))
    return Job(
        task=task,
        train=Input(dataset.train, (TrainTransform(random_crop(config), label),)),
        evaluation=Input(dataset.eval, (EvalTransform(before.center_crop, label),)),
        footprint=footprint,
        rows=partial(_rows, config, dataset, model, footprint, num_classes, before),
    )


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The config's network."""
    options = {key: config.model[key] for key in config.model if key != "name"}
    options["num_classes"] = num_classes
    return models.create_model(config.model.name, **options, dtype=DTYPES[config.compute_dtype])


def preprocessing(config: ConfigDict) -> Preprocessing:
    """The evaluation path of images, which is that of `predict`, exports and CAMs too."""
    info, section = models.model_info(config.model.name), config.data
    return Preprocessing(
        image_size=section.image_size,
        crop_pct=section.crop_pct or info.crop_pct,
        interpolation=section.interpolation,
        mean=info.mean,
        std=info.std,
    )


def random_crop(config: ConfigDict) -> RandomResizedCrop:
    """The crop of training images, on the host."""
    augment = config.augment
    return RandomResizedCrop(
        size=config.data.image_size,
        scale=(float(augment.scale[0]), float(augment.scale[1])),
        ratio=(float(augment.ratio[0]), float(augment.ratio[1])),
        hflip=augment.hflip,
        interpolation=augment.interpolation,
    )


def mix_group(config: ConfigDict) -> int:
    """Images that share one draw and are mixed among themselves."""
    return group_size(config.augment.mix_group_size, config.batch_size)


def make_augmentation(config: ConfigDict, num_classes: int) -> Augment:
    """The augmentation on the device."""
    info = models.model_info(config.model.name)
    on_host = ("scale", "ratio", "hflip", "mix_group_size")
    settings = {key: config.augment[key] for key in config.augment if key not in on_host}
    return make_augment(
        AugmentSettings(**settings),
        num_classes,
        info.mean,
        info.std,
        label_smoothing=config.loss.label_smoothing,
        dtype=DTYPES[config.compute_dtype],
        mix_group=mix_group(config),
    )


def _slope(config: ConfigDict, per_epoch: int):
    """Completed updates -> slope of the activations; None where the weights have it."""
    s = config.schedule
    if not s.slope_epochs:
        return None
    return lambda step: activation_slope(step // per_epoch, s.slope_epochs, s.slope_name)


def _rows(
    config: ConfigDict,
    dataset: data.Dataset,
    model: nn.Module,
    footprint: Footprint,
    num_classes: int,
    before: Preprocessing,
    plan: Plan,
) -> list[Row]:
    macs = count_macs(model, config.data.image_size)
    return [
        ("model", config.model.name, f"{footprint.parameters:,} parameters, {macs:,} MACs"),
        ("data", config.data.name, f"{plan.sizes.train:,} train, {plan.sizes.eval:,} eval"),
        ("classes", text(config.model.num_classes), f"{num_classes:,}"),
        ("mixing group", f"{config.augment.mix_group_size}", f"{mix_group(config)} images"),
        ("evaluation", f"{config.data.image_size} px", f"{config.data.interpolation}, crop "
         f"{before.crop_pct:g}, batch {plan.eval_batch}"),
    ]  # fmt: skip
