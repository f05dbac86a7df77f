"""A config's task."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax import models
from inceptionnext_jax.tasks.classification import LOSSES, Classification
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train.task import Task


def build_task(config: ConfigDict, plan: plans.Plan, class_names: Sequence[str]) -> Task:
    """The task that config.task names, with its model."""
    info = models.model_info(config.model.name)
    dtype = plans.DTYPES[config.compute_dtype]

    def normalize(x):
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        m = jnp.asarray(info.mean, x.dtype) * 255
        s = jnp.asarray(info.std, x.dtype) * 255
        return ((x - m) / s).astype(dtype)

    def augment(key, batch, positions):
        smoothing = config.loss.label_smoothing
        target = jax.nn.one_hot(batch["label"], plan.num_classes)
        target = target * (1 - smoothing) + smoothing / plan.num_classes
        return {**batch, "image": normalize(batch["image"]), "target": target}

    return Classification(
        model=plans.create_model(config, plan),
        image_size=config.data.image_size,
        class_names=class_names,
        augment_fn=augment,
        normalize=normalize,
        loss_fn=LOSSES[config.loss.name],
    )
