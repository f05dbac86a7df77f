"""Several processes as one run."""

import contextlib

import jax

from inceptionnext_jax.errors import UserError


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes: by flags, or as TPU pods, SLURM and Open MPI announce them.

    Does nothing where there is only this process. Must come before anything asks for devices.
    Raises UserError for flags that do not belong together.
    """
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given):
        with contextlib.suppress(ValueError):  # nobody announces a cluster
            jax.distributed.initialize()
        return
    if any(value is None for value in given):
        raise UserError(
            f"--coordinator={coordinator} --num_processes={num_processes} "
            f"--process_id={process_id}: set all three or none"
        )
    if not 0 <= process_id < num_processes:  # type: ignore[operator]
        raise UserError(f"--process_id={process_id} must lie in [0, {num_processes})")
    jax.distributed.initialize(coordinator, num_processes, process_id)
