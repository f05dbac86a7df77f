"""From a segmentation config to its task and input."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.data.catalog import AbsentSource
from inceptionnext_jax.data.dataset import Source
from inceptionnext_jax.data.decode import BadImageError, image_size
from inceptionnext_jax.data.label_map_catalog import known_label_maps, open_label_maps
from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.data.order import ByShape
from inceptionnext_jax.data.resize import Size
from inceptionnext_jax.data.views import Views, canvas_of
from inceptionnext_jax.models.check import system_options
from inceptionnext_jax.models.dense.label_map import TILE, grid_offsets
from inceptionnext_jax.models.footprint import activation_bytes
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.tasks.kind import Input, Inspection, Job
from inceptionnext_jax.tasks.segmentation.check import check
from inceptionnext_jax.tasks.segmentation.inspection import inspection
from inceptionnext_jax.tasks.segmentation.losses import PixelLoss
from inceptionnext_jax.tasks.segmentation.sheet import sheet
from inceptionnext_jax.tasks.segmentation.task import (
    AACC,
    LOSS,
    MACC,
    MIOU,
    MULTI,
    Segmentation,
)
from inceptionnext_jax.tasks.segmentation.transform import EvalTransform, TrainTransform
from inceptionnext_jax.tasks.shared_checks import check_metric_of_views, check_num_classes
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

METRICS = (MIOU, MACC, AACC, LOSS, *MULTI)


def open_data(config: ConfigDict) -> LabelMapDataset:
    """The config's data. Raises UserError when they are missing: how to get them."""
    section = config.data
    return open_label_maps(
        section.name,
        section.dir,
        train_split=section.train_split,
        eval_split=section.eval_split,
        ignore_index=section.ignore_index,
        reduce_zero_label=section.reduce_zero_label,
        image_size=section.image_size,
        num_classes=config.model.num_classes,
        seed=config.seed,
    )


def known_data(config: ConfigDict) -> LabelMapDataset | None:
    """A well-known data set as published, for plans; its examples cannot be read."""
    return known_label_maps(config.data.name)


def check_data(config: ConfigDict, dataset: LabelMapDataset) -> list[str]:
    """Everything in which the config does not fit the labels of the data, a sentence each."""
    classes, weights = dataset.num_classes, config.loss.class_weights
    found = check_num_classes(config, classes)
    if weights and len(weights) != classes:
        found.append(
            f"loss.class_weights has {len(weights)} numbers, but data.name={config.data.name!r} "
            f"has {classes} classes; give one for each"
        )
    return [*found, *check_metric_of_views(config)]


def inspect(
    config: ConfigDict, dataset: LabelMapDataset, thorough: bool, say: Callable[[str], None]
) -> Inspection | None:
    """A look at a sample of the label maps."""
    return inspection(config, dataset, train_transform(config, dataset), thorough, say)


def build(config: ConfigDict, dataset: LabelMapDataset) -> Job:
    """The task and its input."""
    model = create_model(config, dataset.num_classes)
    info, size = models.model_info(config.model.name), config.data.image_size
    views = make_views(config, model)
    task = Segmentation(
        model=model,
        mean=info.mean,
        std=info.std,
        views=views,
        crop=size,
        class_names=dataset.class_names,
        palette=dataset.palette,
        loss_fn=PixelLoss(
            normalizer=config.loss.normalizer,
            class_weights=tuple(config.loss.class_weights) or None,
            ohem_threshold=config.loss.ohem_threshold,
            ohem_min_kept=config.loss.ohem_min_kept,
        ),
        aux_weight=config.loss.aux_weight,
        devices=jax.device_count(),
        dtype=DTYPES[config.compute_dtype],
    )
    evaluation = _evaluation_input(dataset, views)
    footprint = Footprint(count_params(model, size), activation_bytes(model, size))
    return Job(
        task=task,
        train=Input(dataset.train, (train_transform(config, dataset),)),
        evaluation=evaluation,
        footprint=footprint,
        rows=partial(_rows, config, dataset, model, footprint, len(evaluation.transforms)),
    )


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The config's network."""
    options = system_options(config.model, config.head)
    options |= {"num_classes": num_classes, "dtype": DTYPES[config.compute_dtype]}
    return models.create_model(config.model.name, **options)


def make_views(config: ConfigDict, model: nn.Module) -> Views:
    """The views of evaluation."""
    section = config.eval
    crop = section.crop or config.data.image_size
    return Views(
        method=section.method,
        scale=tuple(config.data.resize),
        crop=crop,
        stride=section.stride or max(1, crop * 2 // 3),
        scales=tuple(map(float, section.scales)),
        flip=section.flip,
        multiple=section.multiple,
        grid_offsets=grid_offsets(model),
    )


def train_transform(config: ConfigDict, dataset: LabelMapDataset) -> TrainTransform:
    """The augmentation on the host."""
    augment = config.augment
    return TrainTransform(
        rule=dataset.rule,
        resize=tuple(config.data.resize),
        ratio=(float(augment.ratio[0]), float(augment.ratio[1])),
        crop=config.data.image_size,
        cat_max_ratio=augment.cat_max_ratio,
        hflip=augment.hflip,
        photometric=augment.photometric,
    )


def _evaluation_input(dataset: LabelMapDataset, views: Views) -> Input:
    """The input of evaluation: a transform for each shape of the images' views."""
    if dataset.eval is None or isinstance(dataset.eval, AbsentSource):
        return Input(dataset.eval, ())
    sizes = _sizes(dataset.eval)
    groups = defaultdict(list)
    for index, size in enumerate(sizes):
        groups[views.shapes(size)].append(index)
    transforms = tuple(
        EvalTransform(dataset.rule, views, shapes, canvas_of([sizes[i] for i in group], TILE))
        for shapes, group in groups.items()
    )
    arrays = tuple(np.array(group) for group in groups.values())
    return Input(dataset.eval, transforms, lambda batch_size: ByShape(batch_size, arrays))


def _sizes(source: Source) -> list[Size]:
    """The size of each image, from its header."""
    sizes = []
    for index in range(len(source)):
        example = source[index]
        try:
            sizes.append(image_size(example.image, example.name))
        except BadImageError:  # skipped when its pixels are wanted
            sizes.append((1, 1) if not sizes else sizes[-1])
    return sizes


def _rows(
    config: ConfigDict,
    dataset: LabelMapDataset,
    model: nn.Module,
    footprint: Footprint,
    num_shapes: int,
    plan: Plan,
) -> list[Row]:
    size, section = config.data.image_size, config.eval
    views = len(section.scales) * (1 + section.flip)
    return [
        ("model", config.model.name, f"{footprint.parameters:,} parameters, "
         f"{count_macs(model, size):,} MACs at {size} × {size}"),
        ("data", config.data.name, f"{plan.sizes.train:,} train, {plan.sizes.eval:,} eval"),
        ("classes", text(config.model.num_classes), f"{dataset.num_classes:,}"),
        ("training images", f"{size} px", f"resized within {tuple(config.data.resize)} × "
         f"{config.augment.ratio[0]:g} to {config.augment.ratio[1]:g}, then cropped"),
        ("evaluation", f"{section.method}, views: {views}", f"batch {plan.eval_batch}, compiled "
         f"for {num_shapes or 'each of its'} shapes"),
    ]  # fmt: skip
