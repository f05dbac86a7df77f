"""A window of steps recorded for TensorBoard's or Perfetto's profile view."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict


class Profiler:
    """Records `profile.steps` steps from `profile.start` on into `<workdir>/profile`."""

    def __init__(self, workdir: Path, profile: ConfigDict, main: bool):
        self._folder = workdir / "profile"
        self._first = profile.start
        self._last = profile.start + profile.steps - 1
        self._wanted = main and profile.steps > 0
        self._running = False

    def before(self, step: int) -> None:
        if self._wanted and not self._running and self._first <= step <= self._last:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, metrics: Any) -> None:
        if self._running and step >= self._last:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
