"""Stopping when asked: SIGTERM and SIGINT end a run after a checkpoint."""

import os
import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 75  # EX_TEMPFAIL: run it again to go on


class StopRequest:
    """Notes the first signal; a second one ends the process at once with 128 + its number.

    With several processes JAX's own preemption service hears SIGTERM on any of them and lets all
    agree on a step.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._many = jax.process_count() > 1
        # SIGTERM belongs to JAX's service then.
        numbers = (signal.SIGINT,) if self._many else (signal.SIGTERM, signal.SIGINT)
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; the same on all processes."""
        if self._many:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.signal is not None

    def __str__(self) -> str:
        return "SIGTERM" if self.signal is None else self.signal.name

    def restore(self) -> None:
        """Gives the signals back to whoever handled them before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
