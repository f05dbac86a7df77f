"""StableHLO through `jax.export`: one file for CPUs, NVIDIA GPUs and TPUs, any batch size."""

import functools
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export.function import Inference, largest_difference
from inceptionnext_jax.models.network import has_option
from inceptionnext_jax.ops import depthwise
from inceptionnext_jax.types import Variables

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
_BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # by platform
TOLERANCE = 1e-4


def to_stablehlo(inference: Inference) -> bytes:
    """Serialises [B, S, S, 3] -> logits [B, …] for any B and `PLATFORMS`, weights inside.

    Raises:
      UserError: The exported function differs from the network on this machine.
    """
    logits = functools.partial(platform_logits, inference, inference.variables)
    shape = jax_export.symbolic_shape(", ".join(["b", *map(str, inference.image_shape)]))
    images = jax.ShapeDtypeStruct(shape, inference.input_dtype)
    exported = jax_export.export(jax.jit(logits), platforms=PLATFORMS)(images)
    data = bytes(exported.serialize())
    _check(data, inference)
    return data


def platform_logits(inference: Inference, variables: Variables, images: jax.Array) -> jax.Array:
    """Logits with the depthwise implementations that "auto" takes on the platform they run on."""
    forms = {
        platform: inference.function(depthwise.auto_for(backend))
        for platform, backend in _BACKENDS.items()
    }
    if not has_option(inference.model, "depthwise_impl"):
        return forms["cpu"](variables, images)
    logits: jax.Array = jax.lax.platform_dependent(variables, images, **forms)
    return logits


def _check(data: bytes, inference: Inference) -> None:
    examples = inference.examples(2)
    found: Any = jax_export.deserialize(bytearray(data)).call(examples)
    difference = largest_difference(np.asarray(found), inference.reference(examples))
    if not difference <= TOLERANCE:
        raise UserError(
            f"the exported function differs from the network by {difference:.1e} of its logits, "
            f"more than {TOLERANCE:.0e}; nothing was written, please report it"
        )
