"""Checkpoints of a run: Orbax behind one module.

`checkpoints/<step>/` holds two items: `state`, the arrays of the TrainState, and `meta`, JSON with
the config, versions, class names and preprocessing; and MANIFEST.json with every file's checksum.
Saving is asynchronous and a step appears under its name only when complete, manifest included. The
newest steps are always kept, the best besides.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
from orbax.checkpoint.path import atomicity

from inceptionnext_jax import trees
from inceptionnext_jax.checkpoints import folders
from inceptionnext_jax.checkpoints.manifest import write_manifest
from inceptionnext_jax.checkpoints.reading import saved_shapes
from inceptionnext_jax.errors import RunError, UserError
from inceptionnext_jax.runtime.multihost import is_lost_process, on_process_zero
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

SHOWN = 5  # mismatches of one kind that a message lists


class _Sealed(atomicity.TemporaryPathBase):
    """A step's folder before its commit; Orbax finalizes it once all processes have written."""

    async def finalize(self) -> None:
        if self.get_final().name.isdigit():  # a whole step, not one of its items
            # Orbax would still write a time of commit into its metadata, which nobody reads.
            store: Any = self._checkpoint_metadata_store  # type: ignore[has-type]
            self._checkpoint_metadata_store = None
            if store is not None:
                await asyncio.to_thread(store.wait_until_finished)
            await asyncio.to_thread(write_manifest, storage.storage_path(self.get()))
        await super().finalize()


class _Renamed(_Sealed, atomicity.AtomicRenameTemporaryPath):
    """Committed by a rename."""


class _Marked(_Sealed, atomicity.CommitFileTemporaryPath):
    """Committed by an object that is written last: buckets rename nothing in one go."""


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which leaves it to the loop to ask whether to stop.

    JAX counts who has asked how often; Orbax's own questions would upset the count.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints in a workdir. Close it: saving goes on in the background."""

    def __init__(
        self,
        workdir: StoragePath,
        *,
        keep_latest: int,
        keep_best: int,
        best_metric: str,
        asynchronous: bool = True,
    ):
        """Sets damaged steps aside. Raises RunError where there are steps and none is whole."""
        self.best_metric = best_metric
        self.folder = workdir / folders.FOLDER
        self._workdir = workdir
        self._unsettled = False  # whether a save has begun that nobody has waited for
        on_process_zero(lambda: folders.claim(workdir))
        _silence_late_callbacks()
        self._manager = _Manager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(
                    [LatestN(keep_latest), self._best(keep_best)]
                ),
                # Without it Orbax writes no metrics, and a resumed run would forget the best step.
                best_fn=lambda metrics: metrics[self.best_metric],
                enable_async_checkpointing=asynchronous,
                step_name_format=None,
                temporary_path_class=_Marked if storage.in_bucket(workdir) else _Renamed,
                todelete_subdir=folders.TRASH,
            ),
        )

    def _best(self, count: int) -> BestN:
        lower_is_better = self.best_metric.endswith("/loss")
        return BestN(
            get_metric_fn=lambda metrics: metrics[self.best_metric],
            reverse=lower_is_better,
            n=count,
            keep_checkpoints_without_metrics=False,
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(
        self,
        state: Any,
        step: int,
        meta: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Starts to save `step`; returns once the arrays are copied. Does nothing if it exists.

        Raises RunError where this step, or one that was still being saved, cannot be.
        """
        if step in self._manager.all_steps():
            return
        known = metrics if metrics and self.best_metric in metrics else None
        self.wait()
        with self._saving():
            # Orbax would make it anew, without the older steps; a bucket has no empty folders.
            if not storage.in_bucket(self.folder) and not self.folder.is_dir():
                raise FileNotFoundError("the folder is gone")
            self._unsettled = True
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
                ),
                metrics=known,
                force=True,
            )

    def meta(self, step: int) -> dict[str, Any]:
        restored = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        return restored["meta"]

    def restore(self, step: int, abstract: Any) -> Any:
        """Restores into the shapes, dtypes and shardings of `abstract`.

        Raises UserError, naming the checkpoint and the parameters, where they do not fit.
        """
        path = self.folder / str(step)
        check_fits(saved_shapes(path), abstract, str(path))
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            )
        except Exception as error:  # its bytes are right, so it is this machine
            raise RunError(f"checkpoint {path} cannot be restored ({_reason(error)})") from error
        return restored["state"]

    def check(self) -> None:
        """Raises RunError where saving in the background has failed. Cheap: call it each step."""
        if self._unsettled and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the newest save. Raises RunError where it has failed."""
        with self._saving():
            self._manager.wait_until_finished()
            self._unsettled = False
            self._clean()

    def _clean(self) -> None:
        """Between saves only: deletes what retention has let go, and what a failed save left."""
        if jax.process_index() == 0:
            folders.remove_leftovers(self._workdir)

    def close(self) -> None:
        """Ends background work. A failed save is told by `wait`, which comes before."""
        with contextlib.suppress(Exception):
            self.wait()
        with contextlib.suppress(Exception):
            self._manager.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and tensorstore raise all kinds
            if is_lost_process(error):
                raise  # no fault of this folder
            whole: list[str] = []
            with contextlib.suppress(Exception):  # a bucket out of reach cannot be listed either
                whole = [path.name for path in folders.step_folders(self._workdir)]
                self._clean()  # what is half written would keep a full disk full
            raise RunError(
                f"a checkpoint cannot be saved in {self.folder} ({_reason(error)}); "
                f"{'steps ' + ', '.join(whole) + ' are whole' if whole else 'none is known'}: "
                f"make room or mend the folder and run it again"
            ) from error


def _silence_late_callbacks() -> None:
    """Where one of a step's files fails, tensorstore tells of all others, thousands of lines."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    previous = sys.excepthook
    if getattr(previous, "__name__", "") == "without_late_callbacks":
        return

    def without_late_callbacks(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if kind is not RuntimeError or str(error) != "Event loop is closed":
            previous(kind, error, trace)

    sys.excepthook = without_late_callbacks


def _reason(error: BaseException) -> str:
    """The first line of the error at the root of others, shortened."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for known in ("No space left on device", "Disk quota exceeded", "Read-only file system"):
        if known in str(error):
            return known
    return text[:200]


def check_fits(saved: dict[str, tuple[tuple[int, ...], str]], wanted: Any, where: str) -> None:
    """Raises UserError with every path that is missing, unknown or of another shape or dtype."""
    expected = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in trees.paths_and_leaves(wanted)
    }
    problems = []
    for kind, odd in (
        ("lacks", sorted(expected.keys() - saved.keys())),
        ("also holds", sorted(saved.keys() - expected.keys())),
    ):
        if odd:
            more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
            problems.append(f"{kind} {', '.join(odd[:SHOWN])}{more}")
    differing = [path for path in expected if path in saved and saved[path] != expected[path]]
    for path in differing[:SHOWN]:
        (shape, dtype), (want_shape, want_dtype) = saved[path], expected[path]
        problems.append(f"{path} is {dtype}{list(shape)}, expected {want_dtype}{list(want_shape)}")
    if len(differing) > SHOWN:
        problems.append(f"{len(differing) - SHOWN} more differ in shape or dtype")
    if problems:
        raise UserError(
            f"checkpoint {where} does not fit this config: {'; '.join(problems)}; "
            f"use the config that wrote it, or init_from and a new workdir"
        )
