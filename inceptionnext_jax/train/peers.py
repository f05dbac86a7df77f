"""Ending on many processes: none may wait for one that has gone."""

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import jax

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
def leaving_together() -> Iterator[None]:
    """Ends this process for certain where the block fails and there are others.

    What is closed on the way out may wait for processes that have gone, or that wait themselves:
    after CLOSING_SECONDS, or at once where a process was lost, there is no more closing.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        lost = is_loss(error)
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


def is_loss(error: BaseException) -> bool:
    """Whether an error of JAX or Orbax says that another process is not there any more."""
    text = str(error).lower()
    return not isinstance(error, UserError | RunError) and any(sign in text for sign in _SIGNS)
