"""What a bucket has instead of a folder's lock and of files that grow."""

import os
import platform
import secrets
import sys
import threading
import time
from pathlib import Path

from inceptionnext_jax.errors import RunError, UserError, first_line
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

BEAT_SECONDS = 15.0
PATIENCE_SECONDS = 60.0  # without a beat a run counts as gone
SETTLING_SECONDS = 3.0  # of two that begin together the last to write has it
FETCHED = ("metrics.jsonl", "wandb_id", "DONE")  # what a run goes on with


class Lease:
    """Holds a workdir in a bucket: an object that the run writes anew every BEAT_SECONDS.

    Nobody lets go for a run that is killed, so who finds an object watches it for a while. Clocks
    are not compared.
    """

    def __init__(self, workdir: StoragePath):
        """Raises UserError when another run holds it, or the bucket cannot be written."""
        self._path = workdir / ".lock"
        self._name = f"{platform.node()} {os.getpid()} {secrets.token_hex(4)}"
        self._beats = 0
        self._lost = False
        self._released = threading.Event()
        try:
            taken = self._is_alive() or not self._take()
        except Exception as error:
            if not storage.is_trouble(error):
                raise
            raise UserError(
                f"--workdir={workdir} cannot be written ({first_line(error)}); check the "
                f"bucket's name, the network and your rights, or choose another"
            ) from error
        if taken:
            raise UserError(
                f"--workdir={workdir} is in use by another run; wait for it or choose another"
            )
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises RunError where another run has taken the workdir."""
        if self._lost:
            raise RunError(f"another run has taken {self._path.parent}; this one ends")

    def release(self) -> None:
        self._released.set()
        self._thread.join()
        if self._lost:
            return
        try:
            self._path.unlink(missing_ok=True)
        except Exception as error:  # out of reach: the next start waits, and then takes it
            if not storage.is_trouble(error):
                raise

    def _read(self) -> str | None:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return None

    def _write(self) -> None:
        self._beats += 1
        self._path.write_text(f"{self._name} {self._beats}\n")

    def _is_alive(self) -> bool:
        """Whether a run that is not this one gives a sign of life."""
        before = self._read()
        if before is None:
            return False
        print(
            f"{self._path} is there: watching for {PATIENCE_SECONDS:.0f} s whether its run lives",
            file=sys.stderr,
        )
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            time.sleep(min(BEAT_SECONDS / 3, PATIENCE_SECONDS / 3))
            now = self._read()
            if now != before:
                return now is not None
        return False

    def _take(self) -> bool:
        self._write()
        time.sleep(SETTLING_SECONDS)
        return self._is_own()

    def _is_own(self) -> bool:
        return (self._read() or "").startswith(f"{self._name} ")

    def _keep(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            try:
                if not self._is_own():
                    self._lost = True
                    return
                self._write()
            except Exception as error:  # a beat may be missed; the run's own writes will tell
                if not storage.is_trouble(error):
                    raise


class Copy:
    """A folder of this machine whose files are sent to a bucket when they have changed."""

    def __init__(self, workdir: StoragePath, folder: Path):
        self._workdir, self._folder = workdir, folder
        self._sent: dict[str, tuple[int, int]] = {}  # by name: size, modification time in ns
        for name in FETCHED:
            if (workdir / name).exists():
                (folder / name).write_bytes((workdir / name).read_bytes())
                self._sent[name] = _state(folder / name)

    def send(self) -> None:
        """Sends what is new, and deletes in the bucket what was deleted here."""
        here = {
            path.relative_to(self._folder).as_posix(): path
            for path in storage.files_below(self._folder)
            if not path.name.startswith(".")  # about to take another file's place
        }
        for name, path in here.items():
            state = _state(path)
            if self._sent.get(name) != state:
                target = self._workdir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                self._sent[name] = state
        for name in self._sent.keys() - here.keys():
            (self._workdir / name).unlink(missing_ok=True)
            del self._sent[name]


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
