"""StableHLO through `jax.export`: one file for CPUs, NVIDIA GPUs and TPUs, any batch size."""

from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export.function import Inference, largest_difference

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-4


def to_stablehlo(inference: Inference) -> bytes:
    """Serialises [B, S, S, 3] -> [B, num_classes] for any B and `PLATFORMS`, weights inside.

    Raises:
      UserError: What it computes here is not what the network computes.
    """
    fast, grouped = inference.function("shift"), inference.function("conv")

    def logits(images: jax.Array) -> jax.Array:
        # On each platform the implementation that "auto" takes there; they share the weights.
        if not hasattr(inference.model, "depthwise_impl"):
            return grouped(inference.variables, images)
        result: jax.Array = jax.lax.platform_dependent(
            inference.variables, images, cpu=fast, default=grouped
        )
        return result

    shape = jax_export.symbolic_shape(", ".join(["b", *map(str, inference.image_shape)]))
    images = jax.ShapeDtypeStruct(shape, inference.input_dtype)
    exported = jax_export.export(jax.jit(logits), platforms=PLATFORMS)(images)
    data = bytes(exported.serialize())
    _check(data, inference)
    return data


def _check(data: bytes, inference: Inference) -> None:
    examples = inference.examples(2)
    found: Any = jax_export.deserialize(bytearray(data)).call(examples)
    difference = largest_difference(np.asarray(found), inference.reference(examples))
    if not difference <= TOLERANCE:
        raise UserError(
            f"the exported function differs from the network by {difference:.1e} of its logits, "
            f"more than {TOLERANCE:.0e}; nothing was written, please report it"
        )
