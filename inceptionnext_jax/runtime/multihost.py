"""Several processes as one run: joining, exchanging values, and ending together."""

import contextlib
import faulthandler
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from inceptionnext_jax.errors import RunError, UserError, exit_code, first_line, print_error

HEARTBEAT_SECONDS = 30  # without a heartbeat a process counts as lost
SHUTDOWN_SECONDS = 50  # how long a finished process waits for the others
CLOSING_SECONDS = 20  # how long a failing process may take to close its files
LOST = (
    "another process of this run was lost; start all of them again: they resume from the newest "
    "checkpoint"
)
# How gloo, NCCL and gRPC report that the other end is gone.
_LOST_SIGNS = (
    "gloo", "nccl", "closed by peer", "connection reset", "connection refused", "socket closed",
    "broken pipe", "heartbeat", "coordination service", "unhealthy",
)  # fmt: skip
# JAX ends a process by abort() when its coordination service is gone. The process cannot print
# anything after that, so a child does, which reads the output of the fault handler.
_ABORT_REPORTER = f"""
import sys
report = sys.stdin.read()
if "Aborted" in report:
    print("error: JAX has ended this process; most likely {LOST}", file=sys.stderr)
elif report:
    print(report, file=sys.stderr)
"""
_GATHERED_BYTES = 2**26  # of all processes together, in one collective
_ERRORS: dict[str, type[Exception]] = {"UserError": UserError, "RunError": RunError}


def initialize_distributed(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Joins the other processes, given by flags or announced by a TPU pod, SLURM or Open MPI.

    Does nothing if there is only this process. Call it before anything asks for devices.
    Raises UserError for inconsistent flags, RunError if the other processes do not join.
    """
    given = (coordinator, num_processes, process_id)
    timeouts: dict[str, Any] = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": SHUTDOWN_SECONDS,
    }
    if all(value is None for value in given):
        with contextlib.suppress(ValueError), _join_errors(""):  # ValueError: there is no cluster
            jax.distributed.initialize(**timeouts)
            _start_abort_reporter()
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
    _start_abort_reporter()
    with _join_errors(f" at {coordinator}"):
        jax.distributed.initialize(coordinator, num_processes, process_id, **timeouts)


@contextlib.contextmanager
def _join_errors(where: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"this process cannot join the others{where} ({first_line(error)})"
        ) from error


def _start_abort_reporter() -> None:
    """Starts the child that prints an error if this process is ended by abort()."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _ABORT_REPORTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # signals to this process's group must not reach it
    )
    faulthandler.enable(child.stdin)  # type: ignore[arg-type]


def on_process_zero(action: Callable[[], Any]) -> Any:
    """Calls `action` on process 0 and returns its result, plain JSON, on all processes.

    A UserError or RunError is raised on all.
    """
    return on_all_processes(action if jax.process_index() == 0 else lambda: None)[0]


def on_all_processes(action: Callable[[], Any]) -> list[Any]:
    """Calls `action` on all processes and returns all results, plain JSON, in process order.

    If one raises a UserError or RunError, all raise the first such error.
    """
    if jax.process_count() == 1:
        return [action()]
    try:
        answer = {"value": action()}
    except (UserError, RunError) as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    answers = [json.loads(text) for text in all_gather_bytes(json.dumps(answer).encode())]
    for answer in answers:
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"])
    return [answer["value"] for answer in answers]


def all_gather_bytes(value: bytes) -> list[bytes]:
    """Returns the `value` of each process, of any length, in process order, on all processes."""
    if jax.process_count() == 1:
        return [value]
    length = np.frombuffer(len(value).to_bytes(8, "little"), np.uint8)
    lengths = [int.from_bytes(row.tobytes(), "little") for row in _all_gather(length)]
    parts: list[list[bytes]] = [[] for _ in lengths]
    size = _chunk_size(max(lengths))
    for start in range(0, max(lengths), size):
        chunk = np.frombuffer(value[start : start + size].ljust(size, b"\0"), np.uint8)
        for part, row in zip(parts, _all_gather(chunk), strict=True):
            part.append(row.tobytes())
    return [b"".join(part)[:length] for part, length in zip(parts, lengths, strict=True)]


def _chunk_size(longest: int) -> int:
    """Bytes of a process in one collective: a power of two, since each size is compiled once."""
    return min(1 << max(longest - 1, 0).bit_length(), _GATHERED_BYTES // jax.process_count())


def _all_gather(row: np.ndarray) -> np.ndarray:
    return np.asarray(multihost_utils.process_allgather(row)).reshape(-1, len(row))


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
    """Ends this process, with certainty, if the block fails and there are other processes.

    Closing files on the way out may wait for processes that are gone or waiting themselves: after
    CLOSING_SECONDS, or at once if a process was lost, the process exits without closing the rest.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        lost, code = is_lost_process(error), exit_code(error)
        if lost:
            print_error(f"{LOST} ({first_line(error)})")
        elif isinstance(error, UserError | RunError):
            print_error(error)
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
    """Whether an error of JAX or Orbax means that another process is gone."""
    text = str(error).lower()
    return not isinstance(error, UserError | RunError) and any(sign in text for sign in _LOST_SIGNS)
