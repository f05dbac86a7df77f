"""Several processes as one run: joining, decisions that all take alike, and ending together."""

import contextlib
import faulthandler
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from inceptionnext_jax.errors import RunError, UserError, first_line

CLOSING_SECONDS = 20  # that a process which fails may take to close its files
LOST = (
    "another process of this run was lost; start all of them again: they go on from the newest "
    "checkpoint"
)
# As gloo, NCCL and gRPC put it when the other end has gone.
_SIGNS = (
    "gloo", "nccl", "closed by peer", "connection reset", "connection refused", "socket closed",
    "broken pipe", "heartbeat", "coordination service", "unhealthy",
)  # fmt: skip


@contextmanager
def exit_together() -> Iterator[None]:
    """Ends this process for certain where the block fails and there are others.

    What is closed on the way out may wait for processes that have gone, or that wait themselves:
    after CLOSING_SECONDS, or at once where a process was lost, there is no more closing.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        lost = is_lost_process(error)
        code = 2 if isinstance(error, UserError) else 1
        if lost:
            print(f"error: {LOST} ({first_line(error)})", file=sys.stderr)
        elif isinstance(error, UserError | RunError):
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        sys.stderr.flush()
        if lost:
            os._exit(code)
        timer = threading.Timer(CLOSING_SECONDS, os._exit, (code,))
        timer.daemon = True
        timer.start()
        raise SystemExit(code) from error


def is_lost_process(error: BaseException) -> bool:
    """Whether an error of JAX or Orbax says that another process is not there any more."""
    text = str(error).lower()
    return not isinstance(error, UserError | RunError) and any(sign in text for sign in _SIGNS)


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


def initialize_distributed(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
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
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"this process cannot join the others{where} ({first_line(error)})"
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


_ROOM = 16384  # bytes of JSON that a process can say
_ERRORS: dict[str, type[Exception]] = {"UserError": UserError, "RunError": RunError}


def on_process_zero(action: Callable[[], Any]) -> Any:
    """Returns on all processes what `action`, called on the first, returned there: plain JSON.

    A UserError or RunError is raised on all.
    """
    return on_all_processes(action if jax.process_index() == 0 else lambda: None)[0]


def on_all_processes(action: Callable[[], Any]) -> list[Any]:
    """Calls `action` on all processes and returns what each returned: plain JSON.

    Where one raised a UserError or RunError, all raise the first such error.
    """
    if jax.process_count() == 1:
        return [action()]
    try:
        said = {"value": action()}
    except (UserError, RunError) as error:
        said = {"error": type(error).__name__, "text": str(error)[: _ROOM // 4]}
    answers = _exchange(said)
    for answer in answers:
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"])
    return [answer["value"] for answer in answers]


def _exchange(said: dict[str, Any]) -> list[dict[str, Any]]:
    text = json.dumps(said).encode()
    buffer = np.zeros(_ROOM, np.uint8)
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(buffer)).reshape(-1, _ROOM)
    return [json.loads(row.tobytes().rstrip(b"\0")) for row in rows]
