"""Substitutes for what a bucket lacks: a folder's lock, and files that can be appended to."""

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

RENEWAL_SECONDS = 15.0
EXPIRY_SECONDS = 60.0  # a run that has not renewed its lease for this long counts as gone
SETTLING_SECONDS = 3.0  # of two runs that start together, the last to write gets the lease
DOWNLOADED = ("metrics.jsonl", "wandb_id", "DONE")  # the files that a resumed run needs


class Lease:
    """A lock on a workdir in a bucket: an object that the run rewrites every RENEWAL_SECONDS.

    A killed run leaves its object behind, so a new run watches an existing object for
    EXPIRY_SECONDS and takes it over if it does not change. No clocks are compared.
    """

    def __init__(self, workdir: StoragePath):
        """An object to be; `acquire` writes it."""
        self._path = workdir / ".lock"
        self._name = f"{platform.node()} {os.getpid()} {secrets.token_hex(4)}"
        self._renewals = 0
        self._lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    @classmethod
    def acquire(cls, workdir: StoragePath) -> "Lease":
        """Raises UserError if another run holds the workdir or the bucket cannot be written."""
        lease = cls(workdir)
        try:
            taken = lease._is_held_by_another() or not lease._take()
        except Exception as error:
            if not storage.is_storage_error(error):
                raise
            raise UserError(
                f"--workdir={workdir} cannot be written ({first_line(error)}); check the "
                f"bucket's name, the network and your rights, or choose another"
            ) from error
        if taken:
            raise UserError(
                f"--workdir={workdir} is in use by another run; wait for it or choose another"
            )
        lease._thread.start()
        return lease

    def check(self) -> None:
        """Raises RunError if another run has taken the workdir."""
        if self._lost:
            raise RunError(f"another run has taken {self._path.parent}; this one ends")

    def release(self) -> None:
        """Stops renewing and deletes the object."""
        self._released.set()
        self._thread.join()
        if self._lost:
            return
        try:
            self._path.unlink(missing_ok=True)
        except Exception as error:  # out of reach: the lease expires
            if not storage.is_storage_error(error):
                raise

    def _read(self) -> str | None:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return None

    def _write(self) -> None:
        self._renewals += 1
        self._path.write_text(f"{self._name} {self._renewals}\n")

    def _is_held_by_another(self) -> bool:
        """Whether the object exists and is being renewed."""
        before = self._read()
        if before is None:
            return False
        print(
            f"{self._path} exists: watching for {EXPIRY_SECONDS:.0f} s whether its run is alive",
            file=sys.stderr,
        )
        until = time.monotonic() + EXPIRY_SECONDS
        while time.monotonic() < until:
            time.sleep(min(RENEWAL_SECONDS / 3, EXPIRY_SECONDS / 3))
            now = self._read()
            if now != before:
                return now is not None
        return False

    def _take(self) -> bool:
        self._write()
        time.sleep(SETTLING_SECONDS)
        return self._is_mine()

    def _is_mine(self) -> bool:
        return (self._read() or "").startswith(f"{self._name} ")

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            try:
                if not self._is_mine():
                    self._lost = True
                    return
                self._write()
            except Exception as error:  # a renewal may be missed; other writes will fail too
                if not storage.is_storage_error(error):
                    raise


class LocalCopy:
    """A folder on this machine whose changed files are uploaded to a workdir in a bucket."""

    def __init__(self, workdir: StoragePath, folder: Path):
        self._workdir, self._folder = workdir, folder
        self._uploaded: dict[str, tuple[int, int]] = {}  # by name: bytes, modification time in ns

    @classmethod
    def download(cls, workdir: StoragePath, folder: Path) -> "LocalCopy":
        """Fetches the files that a resumed run needs into `folder`."""
        copy = cls(workdir, folder)
        for name in DOWNLOADED:
            if (workdir / name).exists():
                (folder / name).write_bytes((workdir / name).read_bytes())
                copy._uploaded[name] = _size_and_time(folder / name)
        return copy

    def upload(self) -> None:
        """Uploads new and changed files, and deletes in the bucket those deleted here."""
        here = {
            path.relative_to(self._folder).as_posix(): path
            for path in storage.files_below(self._folder)
            if not path.name.startswith(".")  # temporary, about to replace another file
        }
        for name, path in here.items():
            state = _size_and_time(path)
            if self._uploaded.get(name) != state:
                target = self._workdir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                self._uploaded[name] = state
        for name in self._uploaded.keys() - here.keys():
            (self._workdir / name).unlink(missing_ok=True)
            del self._uploaded[name]


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
