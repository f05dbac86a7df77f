"""A run's console output: a live bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table


def duration(seconds: float) -> str:
    """A duration such as "1 d 02:03:04"; without days if there are none."""
    days, rest = divmod(round(seconds), 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


class Reporter:
    """Messages, tables and progress on standard output; silent unless `enabled`."""

    def __init__(self, enabled: bool = True):
        self._console = Console(file=sys.stdout, quiet=not enabled, highlight=False, soft_wrap=True)
        self._live = enabled and self._console.is_terminal
        if not self._console.is_terminal:
            self._console.width = 120  # a log has no width of its own
        self._bar: Progress | None = None
        self._detail = ""

    def say(self, text: str) -> None:
        """Prints a message."""
        self._console.print(text, markup=False)

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Prints rows of (name, requested, resolved)."""
        table = Table(
            "", "requested", "resolved", title=title, box=box.SIMPLE, title_justify="left"
        )
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Shows the bar on a terminal."""
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done, detail="")

    def update(self, done: int, detail: str | None = None) -> None:
        """Moves the bar; `detail` replaces the text behind it."""
        if self._bar is not None:
            self._detail = self._detail if detail is None else detail
            self._bar.update(self._task, completed=done, detail=self._detail)

    def line(self, done: int, detail: str, keep: bool) -> None:
        """Prints a step's line; on a terminal only if `keep`, else shows it behind the bar."""
        self.update(done, detail)
        if keep or not self._live:
            self.say(f"step {done} | {detail}")

    def stop(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Clock:
    """Training time of this process without pauses: start-up, evaluation, saving."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._elapsed = 0.0

    def resume(self) -> None:
        self._since = time.perf_counter()

    def pause(self) -> None:
        self._elapsed = self.seconds()
        self._since = None

    def seconds(self) -> float:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._elapsed + running
