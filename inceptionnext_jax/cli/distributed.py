"""Several processes as one run."""

import contextlib
import faulthandler
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax

from inceptionnext_jax.errors import RunError, UserError, first_line
from inceptionnext_jax.train.peers import LOST

HEARTBEAT_SECONDS = 30  # without a sign of life a process counts as lost
SHUTDOWN_SECONDS = 50  # that a process which is done waits for the others
# JAX ends a process by abort() when the service that joins them has gone. Nothing in the process
# can speak after that, so a child does, which gets what the fault handler writes.
_LAST_WORDS = f"""
import sys
said = sys.stdin.read()
if "Aborted" in said:
    print("error: JAX has ended this process; most likely {LOST}", file=sys.stderr)
elif said:
    print(said, file=sys.stderr)
"""


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes: by flags, or as TPU pods, SLURM and Open MPI announce them.

    Does nothing where there is only this process. Must come before anything asks for devices.
    Raises UserError for flags that do not belong together, RunError where the others do not come.
    """
    given = (coordinator, num_processes, process_id)
    patience: dict[str, Any] = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": SHUTDOWN_SECONDS,
    }
    if all(value is None for value in given):
        with contextlib.suppress(ValueError), _told(""):  # ValueError: nobody announces a cluster
            jax.distributed.initialize(**patience)
            _listen_to_last_words()
        return
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            f"--coordinator={coordinator} --num_processes={num_processes} "
            f"--process_id={process_id}: set all three or none"
        )
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id} must lie in [0, {num_processes})")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={coordinator} must be host:port of process 0")
    _listen_to_last_words()
    with _told(f" at {coordinator}"):
        jax.distributed.initialize(coordinator, num_processes, process_id, **patience)


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"this process cannot join the others{place} ({first_line(error)})"
        ) from error


def _listen_to_last_words() -> None:
    """Starts the child that speaks for this process where it is ended by abort()."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAST_WORDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a signal to this process's group is not for it
    )
    faulthandler.enable(child.stdin)  # type: ignore[arg-type]
