"""Stopping when asked: SIGTERM and SIGINT end a run after a checkpoint."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 75  # EX_TEMPFAIL: run it again to go on
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes the first signal; a second one ends the process at once with 128 + its number.

    A thread listens, so that a signal counts even while the main thread waits for a device. With
    several processes JAX's preemption service carries a signal on any of them to all, and names
    the question (`reached`) at which all of them get yes for an answer.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._working = False
        self._questions, self._agreed = 0, False
        self._many = jax.process_count() > 1
        self._tell_service = _native_handler(signal.SIGTERM) if self._many else None
        self._previous = {number: signal.signal(number, _leave_it) for number in _NUMBERS}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._previous_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while number := os.read(self._reading, 1):
            if number[0] in _NUMBERS:
                self._heard(signal.Signals(number[0]))
        os.close(self._reading)

    def _heard(self, number: signal.Signals) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._tell_service is not None:
            self._tell_service(signal.SIGTERM)
        elif not self._working and not self._many:
            print(f"stopped by {self} before the first step", file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)  # compiling could take minutes

    def begin(self) -> None:
        """From now on there is work that a stop must save."""
        self._working = True

    def reached(self) -> bool:
        """Whether to stop here; the same on all processes, which ask equally often."""
        self._questions += 1
        if not self._agreed:
            self._agreed = (
                multihost_utils.reached_preemption_sync_point(self._questions)
                if self._many
                else self.signal is not None
            )
        return self._agreed

    def __str__(self) -> str:
        return "a signal to another process" if self.signal is None else self.signal.name

    def restore(self) -> None:
        """Gives the signals back to whoever handled them before."""
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writing)
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _leave_it(number: int, frame: FrameType | None) -> None:
    """The listening thread does it."""


def _native_handler(number: int) -> Callable[[int], None] | None:
    """Takes out the handler that JAX's service has set beside Python's book-keeping."""
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    address = libc.signal(number, None)
    known = address and address > 1  # neither SIG_DFL nor SIG_IGN
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(address) if known else None
