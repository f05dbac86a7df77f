"""Stopping when asked: SIGTERM and SIGINT end a run after a checkpoint."""

import os
import signal
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL: run it again to go on


class StopRequest:
    """Notes the first signal; a second one ends the process at once with 128 + its number."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGTERM, signal.SIGINT)
        }

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)

    def __bool__(self) -> bool:
        return self.signal is not None

    def __str__(self) -> str:
        return "nothing" if self.signal is None else self.signal.name

    def restore(self) -> None:
        """Gives the signals back to whoever handled them before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
