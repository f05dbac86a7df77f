"""A config's task."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.augment.recipe import AugmentSettings, make_augment
from inceptionnext_jax.tasks.classification import LOSSES, Classification
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train.task import Task


def build_task(config: ConfigDict, plan: plans.Plan, class_names: Sequence[str]) -> Task:
    """The task that config.task names, with its model."""
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
    return Classification(
        model=plans.create_model(config, plan),
        image_size=config.data.image_size,
        class_names=class_names,
        augment_fn=augment,
        normalize=lambda images: normalize(images, info.mean, info.std, dtype),
        loss_fn=LOSSES[config.loss.name],
    )
