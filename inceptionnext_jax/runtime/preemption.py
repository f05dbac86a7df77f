"""Preemption: SIGTERM and SIGINT end a run after a checkpoint."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 75  # EX_TEMPFAIL: run it again to resume
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class PreemptionGuard:
    """Turns the first signal into a request to stop; a second ends the process with 128 + number.

    A context manager; the previous handlers are restored at the end. A thread receives signals, so
    that they count even while the main thread waits for a device. With several processes JAX's
    preemption service carries a signal from any of them to all, and chooses the call of
    `should_stop` that returns True on all.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._has_work = False
        self._calls, self._stopping = 0, False
        self._multiprocess = jax.process_count() > 1

    def __enter__(self) -> "PreemptionGuard":
        self._notify_jax = _take_native_handler(signal.SIGTERM) if self._multiprocess else None
        self._handlers = {number: signal.signal(number, _no_operation) for number in _SIGNALS}
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._wakeup_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_fd)
        os.close(self._write_end)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def begin_work(self) -> None:
        """Marks that there is now work to save; until then a signal ends the process at once."""
        self._has_work = True

    def should_stop(self) -> bool:
        """Whether to stop here: the same on all processes, which must call it equally often."""
        self._calls += 1
        if not self._stopping:
            self._stopping = (
                multihost_utils.reached_preemption_sync_point(self._calls)
                if self._multiprocess
                else self.signal is not None
            )
        return self._stopping

    def __str__(self) -> str:
        return "a signal to another process" if self.signal is None else self.signal.name

    def _listen(self) -> None:
        while number := os.read(self._read_end, 1):
            if number[0] in _SIGNALS:
                self._receive(signal.Signals(number[0]))
        os.close(self._read_end)

    def _receive(self, number: signal.Signals) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._notify_jax is not None:
            self._notify_jax(signal.SIGTERM)
        elif not self._has_work and not self._multiprocess:
            print(f"stopped by {self} before the first step", file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)  # compiling could take minutes


def _no_operation(number: int, frame: FrameType | None) -> None:
    """A handler for the main thread; the listening thread acts on the signal."""


def _take_native_handler(number: int) -> Callable[[int], None] | None:
    """Removes and returns the handler that JAX's service has installed, unknown to Python."""
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    address = libc.signal(number, None)
    is_function = address and address > 1  # neither SIG_DFL nor SIG_IGN
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(address) if is_function else None
