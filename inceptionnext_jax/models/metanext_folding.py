"""The variables of a deployed MetaNeXt, by the operations of `models.folding`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from inceptionnext_jax.models.folding import (
    Affine,
    fold_after,
    fold_before,
    norm_affine,
    require_statistics,
)
from inceptionnext_jax.models.geometry import StageGeometry
from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks


def fold_variables(
    variables: Mapping[str, Any], norm: str, geometry: Sequence[StageGeometry], scan: bool
) -> dict[str, Any]:
    """Returns variables in which norms and scales are folded into adjacent weights.

    The stem's BatchNorm goes into the convolution before it; the norm of a downsampling into the
    convolution after it, if that pads nothing; a block's norm into `fc1` and its `gamma` into
    `fc2`. Only the scale and bias of a LayerNorm can be folded, so the stem's stays. The heads'
    norms, which see one vector an image, stay too.

    Args:
      variables: Variables of a `MetaNeXt`, with blocks stacked or not.
      norm: The network's norm, a name in `NORMS`.
      geometry: Geometry of its stages.
      scan: Whether blocks are stacked in the result.

    Raises:
      UserError: BatchNorm's statistics are missing.
    """
    if norm == "batch":
        require_statistics(variables)
    flat = {name: flatten_dict(tree, sep="/") for name, tree in unstack_blocks(variables).items()}
    params, stats = flat["params"], flat.get("batch_stats", {})

    def take_norm(path: str) -> Affine:
        found = _take(params, path, "scale", "bias")
        if norm == "batch":
            return norm_affine(found, _take(stats, path, "mean", "var"))
        return np.asarray(found["scale"], np.float64), np.asarray(found["bias"], np.float64)

    def replace(path: str, fold: Any, affine: Affine) -> None:
        layer = fold(_take(params, path, "kernel", "bias"), affine)
        params.update({f"{path}/{leaf}": value for leaf, value in layer.items()})

    if norm == "batch" and "stem/norm/scale" in params:
        replace("stem/conv", fold_after, take_norm("stem/norm"))
    for i, stage in enumerate(geometry):
        if stage.downsample and stage.stride == 2:
            path = f"stages_{i}/downsample"
            replace(f"{path}/conv", fold_before, take_norm(f"{path}/norm"))
    first = "/mlp/fc1/kernel"
    for path in [key.removesuffix(first) for key in params if key.endswith(first)]:
        replace(f"{path}/mlp/fc1", fold_before, take_norm(f"{path}/norm"))
        if f"{path}/gamma" in params:
            gamma = np.asarray(params.pop(f"{path}/gamma"), np.float64)
            replace(f"{path}/mlp/fc2", fold_after, (gamma, np.zeros_like(gamma)))
    folded = {name: unflatten_dict(tree, sep="/") for name, tree in flat.items() if tree}
    return stack_blocks(folded) if scan else folded


def _take(tree: dict[str, Any], path: str, *leaves: str) -> dict[str, Any]:
    return {leaf: tree.pop(f"{path}/{leaf}") for leaf in leaves}
