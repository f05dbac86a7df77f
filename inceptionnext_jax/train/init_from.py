"""Starting a run from given weights."""

from typing import Any

import jax

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train import trees

CLASSIFIER = "params/head/"  # where another number of classes is allowed to make a difference


def merge(fresh: Any, loaded: Any, where: str) -> tuple[Any, list[str]]:
    """Takes every leaf of `loaded` that fits `fresh`. Returns (merged, what to tell the user).

    Leaves of the classifier head may be missing or of another shape: they stay as initialised and
    are listed, as are loaded leaves that `fresh` has no place for.
    Raises UserError, naming the paths, for any other mismatch.
    """
    given = dict(trees.paths_and_leaves(loaded))
    merged: list[Any] = []
    renewed: list[str] = []
    wrong: list[str] = []
    for path, leaf in trees.paths_and_leaves(fresh):
        source = given.pop(path, None)
        if source is not None and tuple(source.shape) == tuple(leaf.shape):
            merged.append(source.astype(leaf.dtype))
            continue
        merged.append(leaf)
        found = "missing" if source is None else f"{list(source.shape)}"
        (renewed if path.startswith(CLASSIFIER) else wrong).append(
            f"{path} ({found}, expected {list(leaf.shape)})"
        )
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"init_from={where} does not fit the model: {', '.join(wrong[:5])}{more}")
    notes = [f"init_from={where}: {len(merged) - len(renewed)} of {len(merged)} arrays loaded"]
    notes += [f"re-initialised: {entry}" for entry in renewed]
    notes += [f"unused: {path}" for path in sorted(given)]
    return jax.tree.unflatten(jax.tree.structure(fresh), merged), notes
