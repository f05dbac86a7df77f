"""The folder of a run: holding it, its logs, and the DONE mark."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from inceptionnext_jax.errors import RunError, first_line
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.runtime.multihost import on_process_zero
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.bucket import Lease, LocalCopy
from inceptionnext_jax.workdir.lock import Lock, acquire_lock
from inceptionnext_jax.workdir.storage import StoragePath

DONE = "DONE"


class Workdir:
    """A run's folder, held by this run.

    Attributes:
      path: The folder, on disk or in a bucket; all processes write checkpoints there.
      logs: A folder on this machine for all other files: the same one, or for a bucket a local
        copy that `publish` uploads.
    """

    def __init__(
        self,
        path: StoragePath,
        logs: Path,
        lease: Lease | None = None,
        copy: LocalCopy | None = None,
    ):
        """lease, copy: for a bucket, on the process that writes the logs."""
        self.path, self.logs = path, logs
        self._lease, self._copy = lease, copy
        self._published = time.monotonic()

    def publish(self, after_seconds: float = 0.0) -> None:
        """Uploads the logs to a bucket, unless the last time is less than `after_seconds` ago.

        Raises RunError if another run has taken the workdir.
        """
        if self._copy is None or time.monotonic() - self._published < after_seconds:
            return
        if self._lease:
            self._lease.check()
        self._copy.upload()
        self._published = time.monotonic()


@contextmanager
def open_workdir(path: StoragePath) -> Iterator[Workdir]:
    """Holds a workdir for this run, on all its processes; uploads a bucket's logs at the end.

    Raises UserError if another run holds it or it cannot be written; RunError for a file that
    cannot be read or written later on.
    """
    with ExitStack() as stack:
        locks: list[Lock | Lease] = []

        def lock() -> None:
            locks.append(acquire_lock(path))
            stack.callback(locks[0].release)

        on_process_zero(lock)
        stack.enter_context(explaining_storage_errors(path))
        if isinstance(path, Path):
            yield Workdir(path, path)
            return
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inceptionnext_jax-")))
        lease = next((held for held in locks if isinstance(held, Lease)), None)
        copy = LocalCopy.download(path, logs) if lease else None
        workdir = Workdir(path, logs, lease, copy)
        try:
            yield workdir
        except BaseException:
            with suppress(Exception):  # the first error is the one to report
                workdir.publish()
            raise
        workdir.publish()


@contextmanager
def explaining_storage_errors(path: StoragePath) -> Iterator[None]:
    """Raises RunError for a full disk, a missing folder, a failing network and the like."""
    try:
        yield
    except Exception as error:
        if not storage.is_storage_error(error):
            raise
        where = getattr(error, "filename", None) or path
        why = getattr(error, "strerror", None) or first_line(error)
        raise RunError(
            f"{where} cannot be used ({why}); make room or fix the folder and run it again: "
            f"existing checkpoints stay as they are"
        ) from error


def mark_done(workdir: Path, step: int) -> None:
    """Marks a run as finished at `step`."""
    write_atomically(workdir / DONE, f"{step}\n")
