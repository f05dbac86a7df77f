"""Weights from anywhere: a workdir, an Orbax step, a weight file, or the Hugging Face hub."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from inceptionnext_jax import convert
from inceptionnext_jax.convert import files, hub
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks
from inceptionnext_jax.train import checkpoint, steps, trees
from inceptionnext_jax.train.agree import on_first
from inceptionnext_jax.train.manifest import find_damage

Variables = dict[str, Any]
Say = Callable[[str], None]
SHOWN = 5  # names of one kind that a message lists


def find_step(path: Path) -> Path | None:
    """The step folder that `path` means: itself, or the newest whole one of a workdir; or None.

    Raises UserError for a step that is damaged, RunError for a workdir whose steps all are.
    """
    if (path / "state").is_dir() or (path.name.isdigit() and path.parent.name == steps.FOLDER):
        damage = find_damage(path) if path.is_dir() else None
        if damage:
            raise UserError(f"{steps.described(path, damage)}; name another step")
        return path if path.is_dir() else None
    return steps.newest_good(path) if path.is_dir() else None


def load_weights(
    source: str | Path,
    model_name: str,
    stage_depths: Sequence[int] | None = None,
    say: Say = lambda text: None,
) -> tuple[Variables, Variables | None, dict[str, Any]]:
    """Returns (variables, averages or None, meta) as host arrays in the plain tree.

    source: a workdir, a step's folder, a weight file in PyTorch's names (`convert.files`), or a
        hub id: hf://owner/name, or owner/name where there is no such path.
    say: told what was chosen where there was a choice.
    meta is {} for a bare weight file. Raises UserError when nothing readable is there, or a weight
    file does not fit the model.
    """
    path = Path(source).expanduser().absolute()  # Orbax refuses relative paths
    if files.is_weight_file(path) and not path.is_dir():
        return _read_file(path, model_name, stage_depths, say), None, {}
    found = on_first(lambda: str(find_step(path) or ""))  # one of many processes reads it all
    if found:
        return *_read_step(Path(found)), checkpoint.read_meta(Path(found))
    if not path.exists() and hub.is_hub_id(str(source)):
        path = hub.fetch_weights(str(source))
        say(f"{source}: {path}")
        return _read_file(path, model_name, stage_depths, say), None, {}
    raise UserError(
        f"{source} holds no weights: expected a workdir with checkpoints, a step's folder "
        f"(…/checkpoints/<step>), a .safetensors, .npz, .pth or .pt file, or a hub id "
        f"(hf://owner/name)"
    )


def _read_file(
    path: Path, model_name: str, stage_depths: Sequence[int] | None, say: Say
) -> Variables:
    arrays, entry = convert.read_weights(path)
    if entry:
        say(f"{path}: taking its entry {entry!r}")
    try:
        return convert.from_torch(model_name, arrays, stage_depths=stage_depths)
    except convert.MismatchError as error:
        raise UserError(
            f"{path} does not fit model.name={model_name}: {summary(error.kinds)}; name the model "
            f"that the file is of"
        ) from error


def summary(kinds: Mapping[str, Sequence[str]]) -> str:
    """ "3 missing (a, b, c); 7 unexpected (d, e, f, g, h, …)"."""
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
        for kind, names in kinds.items()
        if names
    )


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
