"""Folding of BatchNorms and scales into adjacent weights: exact in inference.

All in float64 on the host, rounded once at the end. Kernels are [kh, kw, in, out] or [in, out].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inceptionnext_jax.errors import UserError

Affine = tuple[np.ndarray, np.ndarray]


def require_statistics(variables: Mapping[str, Any]) -> None:
    """Raises UserError unless variables have the running statistics of BatchNorm."""
    if "batch_stats" not in variables:
        raise UserError(
            f"variables hold {', '.join(variables) or 'nothing'}, but the running statistics of "
            'BatchNorm are needed too; give {"params": …, "batch_stats": …}'
        )


def norm_affine(
    params: Mapping[str, Any], stats: Mapping[str, Any], epsilon: float = 1e-5
) -> Affine:
    """Returns the (scale, shift) that a BatchNorm applies in inference, float64 [C] each.

    Args:
      params: "scale" and "bias", [C].
      stats: "mean" and "var", [C].
      epsilon: Epsilon of the norm.
    """
    scale, bias, mean, var = (
        np.asarray(array, np.float64)
        for array in (params["scale"], params["bias"], stats["mean"], stats["var"])
    )
    scale = scale / np.sqrt(var + epsilon)
    return scale, bias - mean * scale


def fold_after(layer: Mapping[str, Any], affine: Affine) -> dict[str, np.ndarray]:
    """Returns the layer ("kernel", optionally "bias") with the affine map after it folded in."""
    scale, shift = affine
    kernel = np.asarray(layer["kernel"])
    bias = np.asarray(layer.get("bias", 0), np.float64)
    return _rounded(kernel.dtype, kernel * scale, bias * scale + shift)


def fold_before(layer: Mapping[str, Any], affine: Affine) -> dict[str, np.ndarray]:
    """Returns the layer with the affine map before it folded in.

    Exact for products and for convolutions without padding, whose zeros would need the map too.
    """
    scale, shift = affine
    kernel = np.asarray(layer["kernel"])
    wide = kernel.astype(np.float64)
    taps = tuple(range(kernel.ndim - 2))
    bias = np.asarray(layer.get("bias", 0), np.float64) + shift @ wide.sum(taps)
    return _rounded(kernel.dtype, wide * scale[:, None], bias)


def merge(layer: Mapping[str, Any], product: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the layer with the product (1×1 convolution) after it folded in.

    Both need a bias; the result has the kernels' common type.
    """
    kernel = np.asarray(product["kernel"])
    bias = np.asarray(layer["bias"]) @ kernel + np.asarray(product["bias"])
    return {"kernel": np.asarray(layer["kernel"]) @ kernel, "bias": bias}


def without_norms(variables: Mapping[str, Any], epsilon: float = 1e-5) -> dict[str, Any]:
    """Returns a network's variables with every `ConvNorm` folded, without running statistics.

    epsilon: That of the BatchNorms.
    Raises UserError if the running statistics are missing.
    """
    require_statistics(variables)
    params = fold_conv_norms(variables["params"], variables["batch_stats"], epsilon)
    rest = {name: tree for name, tree in variables.items() if name != "batch_stats"}
    return {**rest, "params": params}


def fold_conv_norms(
    params: Mapping[str, Any], stats: Mapping[str, Any], epsilon: float = 1e-5
) -> dict[str, Any]:
    """Returns parameters with the BatchNorm of every `ConvNorm` folded into its convolution."""
    if "norm" in stats:
        affine = norm_affine(params["norm"], stats["norm"], epsilon)
        return {"conv": fold_after(params["conv"], affine)}
    return {
        name: fold_conv_norms(value, stats.get(name, {}), epsilon)
        if isinstance(value, Mapping)
        else value
        for name, value in params.items()
    }


def widened(layer: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the layer in float64, for several of these functions without rounding between."""
    return {name: np.asarray(array, np.float64) for name, array in layer.items()}


def _rounded(dtype: Any, kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    return {"kernel": kernel.astype(dtype), "bias": bias.astype(dtype)}
