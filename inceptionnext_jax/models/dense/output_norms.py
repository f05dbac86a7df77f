"""The option `out_norm` of dense systems: a norm of each of the backbone's maps."""

from collections.abc import Mapping
from typing import Any

from inceptionnext_jax.errors import suggestion
from inceptionnext_jax.models.dense.dense_system import NormFactory
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layers.norm import BatchNorm, LayerNorm
from inceptionnext_jax.models.poolformer import GROUP_NORM
from inceptionnext_jax.models.registry import ShapeOf, require_option

OUTPUT_NORMS: Mapping[str, NormFactory | None] = {
    "none": None,
    "batch": BatchNorm,
    "group": GROUP_NORM,
    "layer": LayerNorm,
}


def norm_factory(options: Mapping[str, Any], family: Family) -> NormFactory | None:
    """Returns the norm that the option names, by default the backbone's own.

    Raises UserError for a value that is not allowed.
    """
    norm = options["out_norm"]
    near = suggestion(str(norm), OUTPUT_NORMS)
    expected = f"one of {', '.join(OUTPUT_NORMS)}, or None for the backbone's own{near}"
    require_option(options, "out_norm", norm is None or norm in OUTPUT_NORMS, expected)
    return family.output_norm if norm is None else OUTPUT_NORMS[norm]


def shown_norm(family: Family, shape_of: ShapeOf) -> dict[str, Any]:
    """Returns the option, as far as a system's arrays show it.

    Arrays do not show the kind of a norm, unless it has statistics: it is then the backbone's own,
    or a LayerNorm.
    """
    has_norm = shape_of(("params", "out_norm", "norm_0", "scale")) is not None
    if shape_of(("batch_stats", "out_norm", "norm_0", "mean")) is not None:
        return {"out_norm": "batch"}
    if has_norm != (family.output_norm is not None):
        return {"out_norm": "layer" if has_norm else "none"}
    return {}
