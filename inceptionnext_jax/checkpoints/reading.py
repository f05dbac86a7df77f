"""Reading a run's checkpoints: a step's folder with Orbax items `state` and `meta`.

Arrays are matched by their paths, so that empty collections need not match, and moved variables
(`moved.RULES`) are found under their present paths.
"""

import logging
import math
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from inceptionnext_jax.checkpoints import steps
from inceptionnext_jax.checkpoints.evaluation import read_evaluation
from inceptionnext_jax.checkpoints.manifest import find_damage
from inceptionnext_jax.checkpoints.moved import current_path, current_paths
from inceptionnext_jax.errors import UserError, first_line
from inceptionnext_jax.models.stacking import unstack_blocks
from inceptionnext_jax.runtime.log_levels import log_level
from inceptionnext_jax.trees import nested, paths_and_leaves
from inceptionnext_jax.types import PyTree, Variables
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

Shapes = dict[str, tuple[tuple[int, ...], str]]  # {path: (shape, dtype)}
SHOWN = 5  # mismatches of one kind that a message lists
_WEIGHTS = ("params", "batch_stats", "host", "ema")  # parts of the state that read_step returns
_INFLATION = 1100  # a state may claim this many times its files' bytes: compression gives no more


def find_step(path: StoragePath) -> StoragePath | None:
    """The step folder that `path` means: itself, or a workdir's newest undamaged one; or None.

    Raises UserError for a damaged step and a bucket that cannot be read, RunError for a workdir
    whose steps are all damaged.
    """
    with storage.explaining_bucket_errors(path):
        if (path / "state").is_dir() or (path.name.isdigit() and path.parent.name == steps.FOLDER):
            damage = find_damage(path) if path.is_dir() else None
            if damage:
                raise UserError(f"{steps.damage_message(path, damage)}; name another step")
            return path if path.is_dir() else None
        return steps.newest_undamaged(path) if path.is_dir() else None


def find_best_step(workdir: StoragePath) -> StoragePath | None:
    """The step with the run's best score; the newest undamaged one where none has a score.

    The score is that of the newest step's checkpoint.best_metric. None if there are no steps.
    Raises UserError if the best step is damaged, or a step has a meta that no run writes.
    """
    with storage.explaining_bucket_errors(workdir):
        newest = steps.newest_undamaged(workdir)
        if newest is None:
            return None
        meta = read_meta(newest)
        try:
            metric = str(meta["config"]["checkpoint"]["best_metric"])
            # Steps from before evaluations had files of their own do not tell.
            higher = bool(meta.get("higher_is_better", not metric.endswith("/loss")))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"checkpoint {newest} does not name its checkpoint.best_metric; name a step"
            ) from error
        scored = []
        for path in steps.step_folders(workdir):
            evaluation = read_evaluation(path)
            score = evaluation.scores.get(metric, math.nan) if evaluation else math.nan
            if math.isfinite(score):
                scored.append((score if higher else -score, int(path.name), path))
        if not scored:
            return newest
        best = max(scored)[2]
        if damage := find_damage(best):
            raise UserError(f"{steps.damage_message(best, damage)}; name another step")
        return best


def read_meta(step: StoragePath) -> dict[str, Any]:
    """The meta item of a step's folder."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        return checkpointer.restore(step / "meta")


def read_state(step: StoragePath, abstract: PyTree) -> PyTree:
    """The state in a step's folder, in the structure and on the shardings of `abstract`.

    Raises UserError, naming the step and the paths, unless exactly the paths, shapes and dtypes of
    `abstract` were saved.
    """
    saved = _saved_tree(step)
    check_fits(current_paths(_shapes(saved)), abstract, str(step))
    wanted = dict(paths_and_leaves(abstract))
    # A tree as it was saved, whose leaves are `abstract`'s.
    requested = jax.tree.unflatten(
        jax.tree.structure(saved),
        [wanted[current_path(path)] for path, _ in paths_and_leaves(saved)],
    )
    leaves = current_paths(dict(paths_and_leaves(_read_arrays(step, requested))))
    return jax.tree.unflatten(jax.tree.structure(abstract), [leaves[path] for path in wanted])


def read_step(step: StoragePath) -> tuple[Variables, Variables | None, dict[str, Any]]:
    """Returns (variables, averages or None, meta) of a step as host arrays in the plain tree.

    Any mesh may have written the step; one device reads it. Raises UserError if the step is
    damaged or not laid out as a run writes it.
    """
    _refuse_links(step)
    try:
        with log_level("absl", logging.ERROR):  # Orbax misses a file that runs do not write
            return _read_step(step)
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise anything for damaged files
        raise UserError(
            f"checkpoint {step} is damaged ({first_line(error)}); take another step or write it "
            f"again"
        ) from error


def _read_step(step: StoragePath) -> tuple[Variables, Variables | None, dict[str, Any]]:
    meta = read_meta(step)
    if not isinstance(meta, dict):
        raise ValueError("its meta is not a JSON object")
    shapes = {
        path: shape
        for path, shape in _shapes(_saved_tree(step)).items()
        if path.split("/")[0] in _WEIGHTS
    }
    _check_claimed_sizes(step, shapes)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    requested = {
        path: jax.ShapeDtypeStruct(shape, dtype, sharding=device)
        for path, (shape, dtype) in shapes.items()
    }
    arrays = dict(paths_and_leaves(_read_arrays(step, nested(requested), partial=True)))
    restored = unstack_blocks(
        nested({current_path(path): np.asarray(array) for path, array in arrays.items()})
    )
    averages = restored.get("ema")
    return _variables(restored), _variables(averages) if averages else None, meta


def _variables(collections: dict[str, PyTree]) -> Variables:
    """The model's collections: "params", "batch_stats" (maybe empty), and "host" if there is one.

    Raises ValueError if there are no parameters.
    """
    if "params" not in collections:
        raise ValueError("its state holds no params")
    host = {"host": collections["host"]} if "host" in collections else {}
    stats = collections.get("batch_stats", {})
    return {"params": collections["params"], "batch_stats": stats, **host}


def _saved_tree(step: StoragePath) -> PyTree:
    """The state's tree as it was saved: dicts and lists with a description of each array."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.metadata(step / "state").item_metadata.tree


def _shapes(saved: PyTree) -> Shapes:
    return {path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in paths_and_leaves(saved)}


def _read_arrays(step: StoragePath, requested: PyTree, partial: bool = False) -> PyTree:
    """The arrays of a step's state, or some of them, on the shardings of `requested`."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(
            step / "state",
            args=ocp.args.PyTreeRestore(
                item=requested,
                restore_args=ocp.checkpoint_utils.construct_restore_args(requested),
                partial_restore=partial,
            ),
        )


def _refuse_links(step: StoragePath) -> None:
    """Raises UserError for symbolic links, which runs never write: they could lead anywhere."""
    for path in () if storage.in_bucket(step) else step.rglob("*"):
        if path.is_symlink():
            raise UserError(
                f"checkpoint {step} holds the symbolic link {path.relative_to(step)}, which no run "
                f"writes; copy the files themselves"
            )


def _check_claimed_sizes(step: StoragePath, shapes: Shapes) -> None:
    """Compares the sizes that a state claims with its files', before anything is allocated."""
    claimed = sum(
        int(np.prod(shape, dtype=object)) * np.dtype(jax.numpy.dtype(dtype)).itemsize
        for shape, dtype in shapes.values()
    )
    stored = sum(map(storage.size, storage.files_below(step / "state")))
    if claimed > _INFLATION * stored:
        raise ValueError(f"it claims {claimed:,} bytes of weights in {stored:,} bytes of files")


def check_fits(saved: Shapes, wanted: PyTree, where: str) -> None:
    """Raises UserError with every path that is missing, unknown or of another shape or dtype."""
    expected = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in paths_and_leaves(wanted)
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
