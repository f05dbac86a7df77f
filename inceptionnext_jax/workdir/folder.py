"""The folder of a run: its lock, its logs, its config.json, and the DONE mark."""

import fcntl
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inceptionnext_jax.errors import RunError, UserError, first_line
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.runtime.multihost import on_process_zero
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.bucket import Copy, Lease
from inceptionnext_jax.workdir.storage import StoragePath

DONE = "DONE"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")
# Another value of these would make the rest of the run a different experiment.
FIXED = ("model.", "data.name", "seed", "batch_size")


class Workdir:
    """Where a run lives.

    Attributes:
      place: The folder, or the place in a bucket; all processes write checkpoints there.
      logs: A folder of this machine for everything else: the same one, or for a bucket a copy of
        it that `publish` sends there.
    """

    def __init__(self, place: StoragePath, logs: Path, lease: Lease | None = None):
        """lease: of a bucket, on the process that writes the logs."""
        self.place, self.logs = place, logs
        self._lease, self._published = lease, time.monotonic()
        self._copy = Copy(place, logs) if lease else None

    def publish(self, after_seconds: float = 0.0) -> None:
        """Sends the logs to a bucket, unless it was done less than `after_seconds` ago.

        Raises RunError where another run has taken the workdir.
        """
        if self._copy is None or time.monotonic() - self._published < after_seconds:
            return
        if self._lease:
            self._lease.check()
        self._copy.send()
        self._published = time.monotonic()


@contextmanager
def opened(place: StoragePath) -> Iterator[Workdir]:
    """Holds a workdir for this run, on all its processes; sends a bucket's logs at the end.

    Raises UserError when another run holds it, or it cannot be written; RunError for a file that
    cannot be read or written later on.
    """
    with ExitStack() as stack:
        locks: list[Lock | Lease] = []

        def hold() -> None:
            locks.append(lock(place))
            stack.callback(locks[0].release)

        on_process_zero(hold)
        stack.enter_context(explaining_disk(place))
        if isinstance(place, Path):
            yield Workdir(place, place)
            return
        logs = stack.enter_context(tempfile.TemporaryDirectory(prefix="inceptionnext_jax-"))
        lease = next((held for held in locks if isinstance(held, Lease)), None)
        workdir = Workdir(place, Path(logs), lease)
        try:
            yield workdir
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                workdir.publish()
            raise
        workdir.publish()


@contextmanager
def explaining_disk(place: StoragePath) -> Iterator[None]:
    """Disks fill up, folders vanish, networks fail: RunError."""
    try:
        yield
    except Exception as error:
        if not storage.is_trouble(error):
            raise
        where = getattr(error, "filename", None) or place
        why = getattr(error, "strerror", None) or first_line(error)
        raise RunError(
            f"{where} cannot be used ({why}); make room or mend the folder and run it again: "
            f"checkpoints that are there stay as they are"
        ) from error


def lock(place: StoragePath) -> "Lock | Lease":
    """Holds a workdir; raises UserError when another run does, or it cannot be written."""
    return Lock(place) if isinstance(place, Path) else Lease(place)


class Lock:
    """Holds a workdir while a run writes to it; the system lets go when the process ends."""

    def __init__(self, workdir: Path):
        """Raises UserError when another run holds it, or the folder cannot be written."""
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._file = (workdir / ".lock").open("a")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(0)
            self._file.write(f"{platform.node()} {os.getpid()}\n")  # a full disk is told here
            self._file.flush()
            if (workdir / storage.CHECKPOINTS).is_dir():
                tempfile.TemporaryFile(dir=workdir / storage.CHECKPOINTS).close()
        except BlockingIOError as error:
            raise UserError(
                f"--workdir={workdir} is in use by another run; wait for it or choose another"
            ) from error
        except OSError as error:
            raise UserError(
                f"--workdir={workdir} cannot be written ({error.strerror}); choose another folder"
            ) from error

    def release(self) -> None:
        self._file.close()


def as_json(config: ConfigDict) -> dict[str, Any]:
    """A config as plain JSON types."""
    return json.loads(json.dumps(config.to_dict()))


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{p: metadata.version(p) for p in PACKAGES}}


def git_commit() -> str | None:
    """The commit of the code that runs, with "+changes" when files differ; None outside git."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def describe(config: ConfigDict, resolved: dict[str, str]) -> dict[str, Any]:
    """What config.json and every checkpoint say of the run."""
    return {
        "config": as_json(config),
        "resolved": resolved,
        "versions": versions(),
        "git_commit": git_commit(),
    }


def write_config(workdir: Path, description: dict[str, Any]) -> None:
    write_atomically(workdir / "config.json", json.dumps(description, indent=1) + "\n")


def changed_keys(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, tuple]:
    """{dotted key: (before, now)} for every value that differs."""
    changes: dict[str, tuple] = {}
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes |= changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            changes[prefix + key] = (old, new)
    return changes


def check_resumable(changes: dict[str, tuple], workdir: StoragePath) -> None:
    """Raises UserError when a key has changed that a run must keep."""
    refused = [key for key in changes if key.startswith(FIXED)]
    if refused:
        what = "; ".join(f"{key}: {changes[key][0]!r} → {changes[key][1]!r}" for key in refused)
        raise UserError(
            f"--workdir={workdir} was begun with another config ({what}); put the value back, or "
            f"take a new workdir (with init_from to start from these weights)"
        )


def mark_done(workdir: Path, step: int) -> None:
    write_atomically(workdir / DONE, f"{step}\n")
