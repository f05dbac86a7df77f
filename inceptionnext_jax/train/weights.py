"""Weights from anywhere: a workdir, an Orbax step, or a safetensors file in timm's names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from inceptionnext_jax import convert
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks
from inceptionnext_jax.train import checkpoint, trees

Variables = dict[str, Any]


def find_step(path: Path) -> Path | None:
    """The step folder that `path` means: itself, or the newest of a workdir; None if neither."""
    if (path / "state").is_dir():
        return path
    return checkpoint.newest_step(path) if path.is_dir() else None


def load_weights(
    path: Path, model_name: str, stage_depths: Sequence[int] | None = None
) -> tuple[Variables, Variables | None, dict[str, Any]]:
    """Returns (variables, averages or None, meta) as host arrays in the plain tree.

    meta is {} for a bare weight file. Raises UserError when nothing readable lies at `path`.
    """
    if path.suffix == ".safetensors":
        return (
            convert.from_torch(model_name, _read_safetensors(path), stage_depths=stage_depths),
            None,
            {},
        )
    step = find_step(path)
    if step is None:
        raise UserError(
            f"{path} holds no weights: expected a workdir with checkpoints, a step's folder "
            f"(…/checkpoints/<step>) or a .safetensors file"
        )
    return *_read_step(step), checkpoint.read_meta(step)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a .safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error})") from error


def _read_step(step: Path) -> tuple[Variables, Variables | None]:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted: dict[str, Any] = {}
    for name, (shape, dtype) in checkpoint.saved_shapes(step).items():
        if name.split("/")[0] not in ("params", "batch_stats", "ema"):
            continue
        *parents, leaf = name.split("/")
        node = wanted
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = jax.ShapeDtypeStruct(shape, dtype, sharding=device)
    restored = unstack_blocks(jax.tree.map(np.asarray, checkpoint.read_arrays(step, wanted)))
    variables = {"params": restored["params"], "batch_stats": restored.get("batch_stats", {})}
    return variables, restored.get("ema")


def with_layout_of(reference: Any, variables: Variables) -> Variables:
    """Stacks the blocks of plain variables where those of `reference` are stacked."""
    stacked = any("/blocks/" in path for path in trees.paths(reference))
    return stack_blocks(variables) if stacked else variables


def on_mesh(variables: Variables, abstract: Variables) -> Variables:
    """Puts arrays onto the shardings of `abstract`, whose shapes they have."""
    return jax.tree.map(
        lambda leaf, want: jax.make_array_from_callback(
            want.shape, want.sharding, lambda index: np.asarray(leaf)[index]
        ),
        variables,
        abstract,
    )


def place(variables: Variables, abstract: Variables, where: str) -> Variables:
    """Puts plain host variables onto the layout and shardings of `abstract`.

    Raises UserError, naming `where` and the parameters, unless every one fits.
    """
    fitted = with_layout_of(abstract, variables)
    given = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in trees.paths_and_leaves(fitted)
    }
    checkpoint.check_fits(given, abstract, where)
    return on_mesh(fitted, abstract)
