"""Memory: running out of the device's, told in the config's words; giving back the host's."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from ml_collections import ConfigDict

from inceptionnext_jax.errors import RunError, first_line
from inceptionnext_jax.train.plan import Plan

_M_ARENA_MAX = -8  # of mallopt, in malloc.h


def share_one_heap() -> None:
    """Lets all threads allocate from one heap; call it before there are many.

    glibc gives each thread a heap of its own, and none is ever used up before the next is enlarged:
    a run with evaluations and checkpoints grew by 4 % in 1,500 steps, and with one heap not at all.
    """
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Returns freed memory to the system, where the C library can.

    Saving and evaluating free what many threads have allocated; glibc keeps that, in pieces, and a
    run of days would grow.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def explaining_memory(config: ConfigDict, plan: Plan, estimate: str) -> Iterator[None]:
    """Raises RunError for JAX's RESOURCE_EXHAUSTED: what was asked for and what would need less.

    estimate: what the plan said of memory.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        raise RunError(
            f"out of device memory: batch_size={config.batch_size} is {plan.device_batch} images "
            f"at a time on each of {plan.devices} devices, {estimate}; try "
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
