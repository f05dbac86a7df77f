"""Checks of a whole config: the shared keys and those of the task that it names."""

from ml_collections import ConfigDict

from inceptionnext_jax.checks import one_of
from inceptionnext_jax.tasks import task_kind, task_names
from inceptionnext_jax.train import validate


def check(config: ConfigDict, devices: int) -> list[str]:
    """Returns all that is wrong with a config on so many devices: one sentence each."""
    if unknown := one_of("task", config.task, task_names()):
        return unknown
    kind = task_kind(config.task)
    return validate.check(config, devices, kind.check, [metric.name for metric in kind.METRICS])
