"""Checkpoints of a run: Orbax behind one module.

`checkpoints/<step>/` holds two items: `state`, the arrays of the TrainState, and `meta`, JSON with
the config, versions, class names and preprocessing; and MANIFEST.json with every file's checksum.
Saving is asynchronous, and a step appears under its name only when it is complete, manifest
included. The newest steps are always kept, and the best in addition. A step's evaluation comes
after it is saved (`record`).
"""

import contextlib
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp

from inceptionnext_jax.checkpoints import steps
from inceptionnext_jax.checkpoints.commit import CommitByMarker, CommitByRename
from inceptionnext_jax.checkpoints.evaluation import (
    Evaluation,
    read_evaluation,
    write_evaluation,
)
from inceptionnext_jax.checkpoints.reading import read_meta, read_state
from inceptionnext_jax.errors import RunError, UserError, first_line
from inceptionnext_jax.runtime.log_levels import log_level
from inceptionnext_jax.runtime.multihost import is_lost_process, on_process_zero
from inceptionnext_jax.types import PyTree
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, without its own checks for preemption.

    JAX counts the checks of each process; Orbax's would upset the count.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class _Retention:
    """Orbax's question which steps to keep: the newest, and the best of those with a score."""

    def __init__(self, keep_latest: int, keep_best: int, scores: dict[int, float], sign: int):
        """scores: By step; may grow. sign: 1 where higher is better, else -1."""
        self._keep_latest, self._keep_best, self._sign = keep_latest, keep_best, sign
        self.scores = scores

    def kept(self, saved: Sequence[int]) -> set[int]:
        """The steps to keep of those that there are."""
        scored = [step for step in saved if math.isfinite(self.scores.get(step, math.nan))]
        best_last = sorted(scored, key=lambda step: (self._sign * self.scores[step], step))
        best = best_last[len(best_last) - self._keep_best :] if self._keep_best else []
        return {*sorted(saved)[-self._keep_latest :], *best}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        kept = self.kept([info.step for info in checkpoints])
        return [info.step in kept for info in checkpoints]


class Checkpoints:
    """The checkpoints in a workdir. Must be closed, since saving continues in the background."""

    def __init__(
        self,
        workdir: StoragePath,
        *,
        keep_latest: int,
        keep_best: int,
        best_metric: str,
        higher_is_better: bool,
        asynchronous: bool = True,
    ):
        """Sets damaged steps aside. Raises RunError if there are steps and all are damaged."""
        self.best_metric = best_metric
        self.folder = workdir / steps.FOLDER
        self._workdir = workdir
        self._unfinished = False  # whether a save was started and not waited for
        on_process_zero(lambda: steps.set_damaged_aside(workdir))

        found = {int(path.name): path for path in steps.step_folders(workdir)}
        evaluations = {step: read_evaluation(path) for step, path in found.items()}
        scores = {
            step: evaluation.scores[best_metric]
            for step, evaluation in evaluations.items()
            if evaluation and best_metric in evaluation.scores
        }
        sign = 1 if higher_is_better else -1
        self._retention = _Retention(keep_latest, keep_best, scores, sign)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._retention,
            enable_async_checkpointing=asynchronous,
            step_name_format=None,
            temporary_path_class=CommitByMarker if storage.in_bucket(workdir) else CommitByRename,
            todelete_subdir=steps.TRASH,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(_without_late_callbacks())
            self._manager = _Manager(self.folder, options=options)
            self._silence = stack.pop_all()

    def latest_step(self) -> int | None:
        """The newest step, or None."""
        return self._manager.latest_step()

    def save(self, state: PyTree, step: int, meta: dict[str, Any]) -> None:
        """Starts to save `step`; returns once the arrays are copied. Does nothing if it exists.

        Raises RunError if this step, or one that was still being saved, cannot be saved.
        """
        if step in self._manager.all_steps():
            return
        self.wait()
        with self._explaining_failure():
            # Orbax would create it again, without the older steps; a bucket has no empty folders.
            if not storage.in_bucket(self.folder) and not self.folder.is_dir():
                raise FileNotFoundError("the folder is gone")
            self._unfinished = True
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
                ),
                force=True,
            )

    def record(self, step: int, evaluation: Evaluation) -> None:
        """Adds its evaluation to a saved step, and deletes steps that are no longer kept.

        Raises RunError if this fails, or if the step has not been saved.
        """
        self.wait()
        with self._explaining_failure():
            if jax.process_index() == 0:
                write_evaluation(self.folder / str(step), evaluation)
            if self.best_metric in evaluation.scores:
                self._retention.scores[step] = evaluation.scores[self.best_metric]
            saved = self._manager.all_steps()
            for old in sorted({*saved} - self._retention.kept(saved)):
                self._manager.delete(old)
            self._clean()

    def evaluation(self, step: int) -> Evaluation | None:
        """The evaluation that was recorded for `step`."""
        return read_evaluation(self.folder / str(step))

    def meta(self, step: int) -> dict[str, Any]:
        """The meta that `step` was saved with."""
        return read_meta(self.folder / str(step))

    def restore(self, step: int, abstract: PyTree) -> PyTree:
        """Restores into the structure, shapes, dtypes and shardings of `abstract`.

        Raises UserError, naming the checkpoint and the parameters, if they do not fit.
        """
        folder = self.folder / str(step)
        try:
            return read_state(folder, abstract)
        except Exception as error:  # the checksums are right, so the cause is this machine
            if isinstance(error, UserError) or is_lost_process(error):
                raise
            raise RunError(f"checkpoint {folder} cannot be restored ({_cause(error)})") from error

    def check(self) -> None:
        """Raises RunError if saving in the background has failed. Cheap: call it each step."""
        if self._unfinished and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the newest save. Raises RunError if it has failed."""
        with self._explaining_failure():
            self._manager.wait_until_finished()
            self._unfinished = False
            self._clean()

    def _clean(self) -> None:
        """Deletes steps that are no longer kept and parts of failed saves; never during a save."""
        if jax.process_index() == 0:
            steps.remove_leftovers(self._workdir)

    def close(self) -> None:
        """Ends background work. Call `wait` before it to learn whether the last save has failed."""
        with contextlib.suppress(Exception):
            self.wait()
        with contextlib.suppress(Exception):
            self._manager.close()
        self._silence.close()

    @contextlib.contextmanager
    def _explaining_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise all kinds
            if is_lost_process(error):
                raise  # not the fault of this folder
            whole: list[str] = []
            with contextlib.suppress(Exception):  # a bucket out of reach cannot be listed either
                whole = [path.name for path in steps.step_folders(self._workdir)]
                self._clean()  # a half-written step would keep a full disk full
            raise RunError(
                f"a checkpoint cannot be saved in {self.folder} ({_cause(error)}); "
                f"{'steps ' + ', '.join(whole) + ' are whole' if whole else 'none is known'}: "
                f"make room or fix the folder and run it again"
            ) from error


@contextlib.contextmanager
def _without_late_callbacks() -> Iterator[None]:
    """Hides the thousands of lines about other files that TensorStore logs when one file fails."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is not RuntimeError or str(error) != "Event loop is closed":
            previous(kind, error, trace)

    sys.excepthook = hook
    try:
        with log_level("asyncio", logging.CRITICAL):
            yield
    finally:
        if sys.excepthook is hook:
            sys.excepthook = previous


def _cause(error: BaseException) -> str:
    """The message of the error at the root of a chain, shortened."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    for known in ("No space left on device", "Disk quota exceeded", "Read-only file system"):
        if known in str(error):
            return known
    return first_line(error)
