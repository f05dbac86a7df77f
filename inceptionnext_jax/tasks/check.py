"""Checks of a whole config: the shared keys and those of the task that it names."""

from ml_collections import ConfigDict

from inceptionnext_jax.checks import one_of
from inceptionnext_jax.tasks.classification import check as classification
from inceptionnext_jax.train import validate

CHECKS = {"classification": (classification.check, classification.METRICS)}


def check(config: ConfigDict, devices: int) -> list[str]:
    """Returns all that is wrong with a config on so many devices: one sentence each."""
    if unknown := one_of("task", config.task, CHECKS):
        return unknown
    task_check, metrics = CHECKS[config.task]
    return validate.check(config, devices, task_check, metrics)
