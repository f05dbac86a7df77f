"""A config's task."""

from collections.abc import Sequence
from functools import partial

from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.augment.recipe import AugmentSettings, make_augment
from inceptionnext_jax.tasks.classification.multilabel import MultiLabel
from inceptionnext_jax.tasks.classification.task import LOSSES, Classification
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train.schedule import activation_slope
from inceptionnext_jax.train.task import Task


def check_labels(config: ConfigDict, num_classes: int, multi_label: bool) -> list[str]:
    """What of a config does not go with the kind of labels that the data have, a sentence each."""
    metric, found = config.checkpoint.best_metric, []
    if multi_label:
        if config.loss.name != "bce":
            found.append(
                f"loss.name={config.loss.name} takes one label an image, and these data have "
                f"several; set loss.name=bce"
            )
        if config.model.num_classes not in (None, num_classes):
            found.append(
                f"model.num_classes={config.model.num_classes}, but multi-label data need as many "
                f"as they have labels; leave it unset or set it to {num_classes}"
            )
    if metric.endswith("/map" if not multi_label else ("/top1", "/top5")):
        kind, instead = ("several labels", "map") if multi_label else ("one label", "top1")
        found.append(
            f"checkpoint.best_metric={metric} is not measured on images with {kind}; "
            f"set it to {metric.split('/')[0]}/{instead}"
        )
    return found


def build_task(
    config: ConfigDict, plan: plans.Plan, class_names: Sequence[str], multi_label: bool = False
) -> Task:
    """The task that config.task names, with its model.

    multi_label: batches hold multi-hot labels [N, K] instead of one index an image.
    """
    info = models.model_info(config.model.name)
    dtype = plans.DTYPES[config.compute_dtype]
    elsewhere = ("scale", "ratio", "hflip", "mix_group_size")  # on the host; in the plan
    settings = {key: config.augment[key] for key in config.augment if key not in elsewhere}
    augment = make_augment(
        AugmentSettings(**settings),
        plan.num_classes,
        info.mean,
        info.std,
        label_smoothing=config.loss.label_smoothing,
        dtype=dtype,
        mix_group=plan.mix_group,
    )
    slope_epochs, slope_name = config.schedule.slope_epochs, config.schedule.slope_name
    kind = partial(MultiLabel, num_eval=plan.sizes.eval) if multi_label else Classification
    return kind(
        model=plans.create_model(config, plan),
        image_size=config.data.image_size,
        class_names=class_names,
        augment_fn=augment,
        normalize=lambda images: normalize(images, info.mean, info.std, dtype),
        loss_fn=LOSSES[config.loss.name],
        slope=partial(activation_slope, slope_epochs=slope_epochs, name=slope_name)
        if slope_epochs > 0
        else None,
    )
