"""Reading of a run's checkpoints: a step's folder with Orbax items `state` and `meta`.

Whatever mesh wrote a step, it is read onto one device. The writing is `train.checkpoint`'s.
"""

from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from inceptionnext_jax.checkpoints import folders
from inceptionnext_jax.checkpoints.manifest import find_damage
from inceptionnext_jax.checkpoints.quiet import only_errors
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import unstack_blocks
from inceptionnext_jax.trees import nested, paths_and_leaves
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

Shapes = dict[str, tuple[tuple[int, ...], str]]
_WEIGHTS = ("params", "batch_stats", "ema")  # of the state; the rest is the optimizer's
_INFLATION = 1100  # times its size on disk that a state may claim: compression gives no more


def find_step(path: StoragePath) -> StoragePath | None:
    """The step folder that `path` means: itself, or the newest whole one of a workdir; or None.

    Raises UserError for a step that is damaged and a bucket that cannot be read, RunError for a
    workdir whose steps all are damaged.
    """
    with storage.reaching(path):
        return _found_step(path)


def _found_step(path: StoragePath) -> StoragePath | None:
    if (path / "state").is_dir() or (path.name.isdigit() and path.parent.name == folders.FOLDER):
        damage = find_damage(path) if path.is_dir() else None
        if damage:
            raise UserError(f"{folders.described(path, damage)}; name another step")
        return path if path.is_dir() else None
    return folders.newest_good(path) if path.is_dir() else None


def read_meta(step_folder: StoragePath) -> dict[str, Any]:
    """The meta item of a step's folder."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        return checkpointer.restore(step_folder / "meta")


def saved_shapes(step_folder: StoragePath) -> Shapes:
    """{path: (shape, dtype)} of the state in a step's folder, without reading the arrays."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(step_folder / "state").item_metadata.tree
    return {path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in paths_and_leaves(tree)}


def read_arrays(step_folder: StoragePath, wanted: Any) -> Any:
    """Restores a part of a step's state, onto the shardings of `wanted` (shapes with shardings)."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(
            step_folder / "state",
            args=ocp.args.PyTreeRestore(
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )


def read_step(step: StoragePath) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Returns (variables, averages or None, meta) of a step as host arrays in the plain tree.

    Raises UserError when the step is damaged, or is not laid out as a run writes it.
    """
    _refuse_links(step)
    try:
        with only_errors("absl"):  # Orbax misses a file that a run does not write
            return _read_step(step)
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise anything for damaged files
        raise UserError(
            f"checkpoint {step} is damaged ({_first_line(error)}); take another step or write it "
            f"again"
        ) from error


def _read_step(step: StoragePath) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    meta = read_meta(step)
    if not isinstance(meta, dict):
        raise ValueError("its meta is no JSON object")
    shapes = {p: about for p, about in saved_shapes(step).items() if p.split("/")[0] in _WEIGHTS}
    _check_claims(step, shapes)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = nested(
        {
            path: jax.ShapeDtypeStruct(shape, dtype, sharding=device)
            for path, (shape, dtype) in shapes.items()
        }
    )
    restored = unstack_blocks(jax.tree.map(np.asarray, read_arrays(step, wanted)))
    variables = {"params": restored["params"], "batch_stats": restored.get("batch_stats", {})}
    return variables, restored.get("ema"), meta


def _refuse_links(step: StoragePath) -> None:
    """A run never writes links into a step; they would lead out of it."""
    for path in () if storage.in_bucket(step) else step.rglob("*"):
        if path.is_symlink():
            raise UserError(
                f"checkpoint {step} holds the symbolic link {path.relative_to(step)}, which no run "
                f"writes; copy the files themselves"
            )


def _check_claims(step: StoragePath, shapes: Shapes) -> None:
    """No size is believed before it is compared with the files'."""
    claimed = sum(
        int(np.prod(shape, dtype=object)) * np.dtype(jax.numpy.dtype(dtype)).itemsize
        for shape, dtype in shapes.values()
    )
    stored = sum(map(storage.size, storage.files_below(step / "state")))
    if claimed > _INFLATION * stored:
        raise ValueError(f"it claims {claimed:,} bytes of weights in {stored:,} bytes of files")


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".strip()
    return text.splitlines()[0][:160]
