"""Writers of metrics: metrics.jsonl always, TensorBoard and Weights & Biases on request."""

import json
import math
import secrets
import time
from pathlib import Path
from typing import Any, Protocol, TextIO

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import write_atomically

METRICS = "metrics.jsonl"


class Writer(Protocol):
    """A destination of metrics."""

    def write(self, step: int, values: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """metrics.jsonl: one JSON object a line, one line a step."""

    def __init__(self, file: TextIO, last: dict[str, Any] | None):
        """file: open for reading and writing, at its end. last: its last line, if it has any."""
        self._file = file
        self._last = last or {"step": None}
        self._last_start = file.tell() - (len(json.dumps(last)) + 1 if last else 0)

    @classmethod
    def open(cls, workdir: Path, after_step: int) -> "JsonLines":
        """Continues after `after_step`; later lines belong to updates that will be repeated."""
        path = workdir / METRICS
        kept = [line for line in read_metrics(path) if line["step"] <= after_step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        file = path.open("r+", encoding="utf-8")
        file.seek(0, 2)
        return cls(file, kept[-1] if kept else None)

    def write(self, step: int, values: dict[str, Any]) -> None:
        # JSON has no NaN and no infinity: they become null.
        line = {
            key: value if not isinstance(value, float) or math.isfinite(value) else None
            for key, value in values.items()
        }
        line = {"step": step, **line, "wall_time": time.time()}
        if step == self._last["step"]:
            line = {**self._last, **line}
            self._file.seek(self._last_start)
            self._file.truncate()
        self._last, self._last_start = line, self._file.tell()
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl up to the first that is invalid, e.g. cut off by a kill."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


class TensorBoard:
    """Scalars as TensorBoard events."""

    def __init__(self, writer: Any):
        """writer: tensorboardX's."""
        self._writer = writer

    @classmethod
    def open(cls, workdir: Path, after_step: int) -> "TensorBoard":
        """Continues after `after_step`; later events are no longer shown."""
        from tensorboardX import SummaryWriter

        return cls(SummaryWriter(str(workdir / "tensorboard"), purge_step=after_step + 1))

    def write(self, step: int, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if math.isfinite(value):  # of others it would print a warning each
                self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Metrics at Weights & Biases."""

    def __init__(self, run: Any):
        """run: wandb's."""
        self._run = run

    @classmethod
    def open(cls, workdir: Path, config: dict[str, Any]) -> "WandB":
        """Opens a run, or the same one again after a resume; its id is kept in the workdir."""
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "log.wandb=True needs the package wandb; pip install -e '.[wandb]'"
            ) from error
        path = workdir / "wandb_id"
        run_id = path.read_text().strip() if path.is_file() else secrets.token_hex(4)
        write_atomically(path, run_id)
        return cls(
            wandb.init(
                project="inceptionnext_jax",
                id=run_id,
                resume="allow",
                dir=str(workdir),
                config=config,
            )
        )

    def write(self, step: int, values: dict[str, Any]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


class Writers:
    """All writers of a run as one."""

    def __init__(self, writers: list[Writer]):
        self._writers = writers

    def write(self, step: int, values: dict[str, Any]) -> None:
        for writer in self._writers:
            writer.write(step, values)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def open_writers(
    workdir: Path, after_step: int, log: Any, config: dict[str, Any], *, main: bool
) -> Writers:
    """The writers that the config asks for; none on processes other than the main one."""
    if not main:
        return Writers([])
    writers: list[Writer] = [JsonLines.open(workdir, after_step)]
    if log.tensorboard:
        writers.append(TensorBoard.open(workdir, after_step))
    if log.wandb:
        writers.append(WandB.open(workdir, config))
    return Writers(writers)
