"""All that is wrong with a config, collected from the owners of its sections."""

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from inceptionnext_jax.checkpoints.check import check_checkpoint
from inceptionnext_jax.checks import missing_sections
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train.mesh import check_batch, check_mesh
from inceptionnext_jax.train.optimizer import check_optim
from inceptionnext_jax.train.run_check import check_run
from inceptionnext_jax.train.schedule import check_schedule

SECTIONS = ("model", "optim", "schedule", "checkpoint", "eval", "stop", "log", "profile", "mesh")


def check(
    config: ConfigDict,
    devices: int,
    task_check: Callable[[ConfigDict], list[str]],
    metrics: Sequence[str],
) -> list[str]:
    """Returns all that is wrong with a config, one sentence each.

    Args:
      config: Any, with the shared keys.
      devices: On which it is to run.
      task_check: Returns all that is wrong with the keys of the config's task, and with its model.
      metrics: Names of the task's metrics.
    """
    if missing := missing_sections(config, SECTIONS):
        return missing
    return [
        *check_run(config),
        *check_optim(config),
        *check_schedule(config),
        *check_checkpoint(config, metrics),
        *task_check(config),
        *check_mesh(config.mesh, devices),
        *check_batch(config, devices),
    ]


def refuse(problems: list[str]) -> None:
    """Raises one UserError for all problems, a line each; does nothing when there are none."""
    if problems:
        raise UserError("\n".join(problems))
