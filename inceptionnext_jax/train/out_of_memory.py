"""Running out of device memory, explained by the plan."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from ml_collections import ConfigDict

from inceptionnext_jax.errors import RunError, first_line
from inceptionnext_jax.train.plan import Plan


@contextmanager
def explaining_memory(config: ConfigDict, plan: Plan) -> Iterator[None]:
    """Raises RunError for JAX's RESOURCE_EXHAUSTED, with what would need less."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        raise RunError(
            f"out of device memory: batch_size={config.batch_size} is {plan.device_batch} images "
            f"at a time on each of {plan.devices} devices, {plan.memory}; try "
            f"{', '.join(_remedies(config, plan))} ({first_line(error)})"
        ) from error


def _remedies(config: ConfigDict, plan: Plan) -> list[str]:
    found = []
    if plan.device_batch > 1:
        found.append(f"optim.accumulate={2 * config.optim.accumulate}")
    if not config.model.remat:
        found.append("model.remat=True")
    if config.compute_dtype != "bfloat16":
        found.append("compute_dtype=bfloat16")
    if plan.devices > config.mesh.fsdp:
        found.append(f"mesh.fsdp={plan.devices}")
    return [*found, "a smaller data.image_size or batch_size"]
