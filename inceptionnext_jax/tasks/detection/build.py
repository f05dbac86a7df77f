"""From a detection config to its task and input."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.data.aspect_order import aspect_epochs, canvas_numbers
from inceptionnext_jax.data.catalog import AbsentSource
from inceptionnext_jax.data.detection_augment import Recipe
from inceptionnext_jax.data.instance_catalog import known_instances, open_instances
from inceptionnext_jax.data.instances import InstanceDataset, InstanceSource
from inceptionnext_jax.data.order import ByShape
from inceptionnext_jax.data.resize import Size, size_within, up_to_multiple
from inceptionnext_jax.models.check import system_options
from inceptionnext_jax.models.footprint import activation_bytes
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.tasks.detection.check import CANVAS_MULTIPLE, check, has_masks
from inceptionnext_jax.tasks.detection.sheet import sheet
from inceptionnext_jax.tasks.detection.task import METRICS, Detection
from inceptionnext_jax.tasks.detection.transform import EvalTransform, TrainTransform, make_views
from inceptionnext_jax.tasks.kind import Input, Inspection, Job
from inceptionnext_jax.tasks.shared_checks import check_num_classes
from inceptionnext_jax.train.plan import DTYPES, Footprint, Plan, Row, text

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


def open_data(config: ConfigDict) -> InstanceDataset:
    """The config's data. Raises UserError when they are missing: how to get them."""
    section = config.data
    return open_instances(
        section.name,
        section.dir,
        train_split=section.train_split,
        eval_split=section.eval_split,
        train_json=section.train_json,
        eval_json=section.eval_json,
        image_size=min(section.resize),
        num_classes=config.model.num_classes,
        seed=config.seed,
    )


def known_data(config: ConfigDict) -> InstanceDataset | None:
    """A well-known data set as published, for plans; its examples cannot be read."""
    return known_instances(config.data.name)


def check_data(config: ConfigDict, dataset: InstanceDataset) -> list[str]:
    """Everything in which the config does not fit the data, a sentence each."""
    found, name = check_num_classes(config, dataset.num_classes), config.data.name
    if has_masks(config.model.name) and not dataset.has_masks:
        found.append(
            f"model.name={config.model.name!r} learns from masks, and data.name={name!r} has "
            "objects without one; take retinanet_…, or give every object a 'segmentation'"
        )
    if dataset.eval is not None and not dataset.eval.annotated.any():
        found.append("no evaluation image has an annotation; set data.eval_split or data.eval_json")
    for source, box in ((dataset.train, _largest_box(config)), (dataset.eval, config.data.resize)):
        if source is not None:
            found += _check_canvases(config, source, box)
    return list(dict.fromkeys(found))


def _largest_box(config: ConfigDict) -> Size:
    """The longest long side and the longest short side in training."""
    return config.augment.long, max(config.augment.shorts)


def _check_canvases(config: ConfigDict, source: InstanceSource, box: Size) -> list[str]:
    """A sentence about images that fit no canvas when they are resized within the box."""
    for height, width in np.unique(source.sizes, axis=0).tolist():
        needed = size_within((height, width), box)
        fits = (h >= needed[0] and w >= needed[1] for h, w in config.data.canvases)
        if not any(fits):
            canvas = up_to_multiple(needed, CANVAS_MULTIPLE)
            return [
                f"data.canvases={config.data.canvases} do not hold images of {width} × {height} "
                f"pixels, which are resized to {needed[1]} × {needed[0]}; add {canvas}"
            ]
    return []


def inspect(
    config: ConfigDict, dataset: InstanceDataset, thorough: bool, say: Callable[[str], None]
) -> Inspection | None:
    """No look at the examples."""
    return None


def build(config: ConfigDict, dataset: InstanceDataset) -> Job:
    """The task and its input."""
    model = create_model(config, dataset.num_classes)
    info, loss, canvases = models.model_info(config.model.name), config.loss, _canvases(config)
    task = Detection(
        model=model,
        mean=info.mean,
        std=info.std,
        resize=tuple(config.data.resize),
        canvases=canvases,
        views=make_views(config.eval.scales, config.eval.flip),
        class_names=dataset.class_names,
        category_ids=dataset.category_ids,
        source=dataset.eval,
        weights={name: loss[f"{name}_weight"] for name in ("rpn", "cls", "box", "mask")},
        devices=jax.device_count(),
        dtype=DTYPES[config.compute_dtype],
    )
    footprint = Footprint(count_params(model), activation_bytes(model, _side(canvases[0])))
    return Job(
        task=task,
        train=training_input(config, dataset),
        evaluation=_evaluation_input(config, dataset),
        footprint=footprint,
        rows=partial(_rows, config, dataset, model, footprint),
    )


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The config's network."""
    options = system_options(config.model, config.head)
    options |= {"num_classes": num_classes, "dtype": DTYPES[config.compute_dtype]}
    return models.create_model(config.model.name, **options)


def _canvases(config: ConfigDict) -> tuple[Size, ...]:
    return tuple((int(height), int(width)) for height, width in config.data.canvases)


def _side(canvas: Size) -> int:
    """Pixels on a side of a square of the same area, about."""
    return up_to_multiple((round((canvas[0] * canvas[1]) ** 0.5), 1), CANVAS_MULTIPLE)[0]


def training_input(config: ConfigDict, dataset: InstanceDataset) -> Input:
    """The training images: a transform for each canvas, and each batch on one of them."""
    transforms = tuple(train_transform(config, canvas) for canvas in _canvases(config))
    if dataset.train is None:
        return Input(None, transforms)
    numbers = canvas_numbers(dataset.train.sizes, _largest_box(config), _canvases(config))
    return Input(
        dataset.train, transforms, lambda batch: aspect_epochs(config.seed, batch, numbers)
    )


def train_transform(config: ConfigDict, canvas: Size) -> TrainTransform:
    """The augmentation on the host."""
    augment, data = config.augment, config.data
    return TrainTransform(
        recipe=Recipe(
            shorts=tuple(augment.shorts),
            long=augment.long,
            hflip=augment.hflip,
            crop_prob=augment.crop_prob,
            crop_shorts=tuple(augment.crop_shorts),
            crop=tuple(augment.crop),
        ),
        canvas=canvas,
        max_objects=data.max_objects,
        mask_side=data.mask_size if has_masks(config.model.name) else None,
    )


def _evaluation_input(config: ConfigDict, dataset: InstanceDataset) -> Input:
    """The evaluation images, canvas by canvas."""
    if dataset.eval is None or isinstance(dataset.eval, AbsentSource):
        return Input(dataset.eval, ())
    canvases, resize = _canvases(config), tuple(config.data.resize)
    views = make_views(config.eval.scales, config.eval.flip)
    numbers = canvas_numbers(dataset.eval.sizes, resize, canvases)
    used = np.unique(numbers).tolist()
    transforms = tuple(EvalTransform(resize, canvases[number], views) for number in used)
    groups = tuple(np.flatnonzero(numbers == number) for number in used)
    return Input(dataset.eval, transforms, lambda batch_size: ByShape(batch_size, groups))


def _rows(
    config: ConfigDict,
    dataset: InstanceDataset,
    model: nn.Module,
    footprint: Footprint,
    plan: Plan,
) -> list[Row]:
    data, augment, canvases = config.data, config.augment, _canvases(config)
    sizes = ", ".join(f"{height} × {width}" for height, width in canvases)
    shorts = sorted(augment.shorts)
    short = f"{shorts[0]}" if len(shorts) == 1 else f"{shorts[0]} to {shorts[-1]}"
    crop = f", {augment.crop_prob:.0%} cropped before" if augment.crop_prob else ""
    views = len(config.eval.scales) * (1 + config.eval.flip)
    return [
        ("model", config.model.name, f"{footprint.parameters:,} parameters, "
         f"{count_macs(model, canvases[0]):,} MACs at {canvases[0][0]} × {canvases[0][1]}"),
        ("data", data.name, f"{plan.sizes.train:,} train, {plan.sizes.eval:,} eval"),
        ("classes", text(config.model.num_classes), f"{dataset.num_classes:,}"),
        ("training images", f"short side {short}", f"long side up to {augment.long}{crop}"),
        ("canvases", sizes, f"the step is compiled for {len(canvases)}"),
        ("objects", f"max_objects={data.max_objects}", "of an image; others are left out"),
        ("evaluation", f"views: {views}", f"within {tuple(data.resize)}, batch {plan.eval_batch}"),
    ]  # fmt: skip
