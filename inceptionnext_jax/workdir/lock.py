"""Exclusive access to a workdir."""

import fcntl
import os
import platform
import tempfile
from pathlib import Path
from typing import TextIO

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.bucket import Lease
from inceptionnext_jax.workdir.storage import StoragePath


def acquire_lock(workdir: StoragePath) -> "Lock | Lease":
    """Locks a workdir; raises UserError if another run holds it or it cannot be written."""
    return Lock.acquire(workdir) if isinstance(workdir, Path) else Lease.acquire(workdir)


class Lock:
    """A file lock on a workdir; the system releases it when the process ends."""

    def __init__(self, file: TextIO):
        self._file = file

    @classmethod
    def acquire(cls, workdir: Path) -> "Lock":
        """Raises UserError if another run holds the workdir or it cannot be written."""
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            file = (workdir / ".lock").open("a")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"{platform.node()} {os.getpid()}\n")  # fails here if the disk is full
            file.flush()
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
        return cls(file)

    def release(self) -> None:
        """Unlocks the workdir."""
        self._file.close()
