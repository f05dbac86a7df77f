"""Recording a range of steps for TensorBoard's or Perfetto's profile view."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict


class Profiler:
    """Records `profile.steps` steps, beginning with `profile.start`, into `<workdir>/profile`."""

    def __init__(self, workdir: Path, profile: ConfigDict, main: bool):
        self._folder = workdir / "profile"
        self._first = profile.start
        self._last = profile.start + profile.steps - 1
        self._wanted = main and profile.steps > 0
        self._running = False

    def before(self, step: int) -> None:
        """Starts recording if `step` is in the range."""
        if self._wanted and not self._running and self._first <= step <= self._last:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, metrics: Any) -> None:
        """Stops recording after the last step of the range, once `metrics` are computed."""
        if self._running and step >= self._last:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
