"""Checkpoints of a run: Orbax behind one module.

`checkpoints/<step>/` holds two items: `state`, the arrays of the TrainState, and `meta`, JSON with
the config, versions, class names and preprocessing. Saving is asynchronous and a step appears
under its name only when complete. The newest steps are always kept, the best besides.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from inceptionnext_jax.convert.steps import FOLDER, saved_shapes
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train import trees
from inceptionnext_jax.train.state import TrainState

SHOWN = 5  # mismatches of one kind that a message lists


class Checkpoints:
    """The checkpoints in a workdir. Close it: saving goes on in the background."""

    def __init__(self, workdir: Path, *, keep_latest: int, keep_best: int, best_metric: str):
        folder = workdir / FOLDER
        if jax.process_index() == 0:
            _remove_leftovers(folder)
        self.best_metric = best_metric
        self.folder = folder
        self._manager = ocp.CheckpointManager(
            folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(
                    [LatestN(keep_latest), self._best(keep_best)]
                ),
                enable_async_checkpointing=True,
                step_name_format=None,
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
        state: TrainState,
        step: int,
        meta: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Starts to save `step`; returns once the arrays are copied. Does nothing if it exists."""
        if step in self._manager.all_steps():
            return
        known = metrics if metrics and self.best_metric in metrics else None
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

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Restores into the shapes, dtypes and shardings of `abstract`.

        Raises UserError, naming the checkpoint and the parameters, where they do not fit.
        """
        path = self.folder / str(step)
        check_fits(saved_shapes(path), abstract, str(path))
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
        return restored["state"]

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def _remove_leftovers(folder: Path) -> None:
    """Half-written steps of a killed run: Orbax ignores them, but they fill the disk."""
    for leftover in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)


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
