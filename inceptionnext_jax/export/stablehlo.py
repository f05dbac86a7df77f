"""StableHLO through `jax.export`: one file for CPUs, NVIDIA GPUs and TPUs, any batch size."""

import functools
from typing import Any

import jax
from jax import export as jax_export

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export.detector import check_detector
from inceptionnext_jax.export.function import Inference, largest_difference
from inceptionnext_jax.models.network import has_option
from inceptionnext_jax.ops import depthwise, roi_align
from inceptionnext_jax.types import Variables

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
_BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # by platform
TOLERANCE = 1e-4


def to_stablehlo(inference: Inference) -> bytes:
    """Serialises the function of images, for any batch size and `PLATFORMS`, weights inside.

    Raises:
      UserError: The exported function differs from the network on this machine.
    """
    function = functools.partial(on_platforms, inference, inference.variables)
    (batch,) = jax_export.symbolic_shape("b")
    exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(*inference.inputs(batch))
    data = bytes(exported.serialize())
    _check(data, inference)
    return data


def on_platforms(inference: Inference, variables: Variables, *inputs: jax.Array) -> Any:
    """The results by the implementations that "auto" takes on the platform they run on."""
    forms = {
        platform: inference.function(depthwise.auto_for(backend), roi_align.measured_impl(backend))
        for platform, backend in _BACKENDS.items()
    }
    if not any(has_option(inference.model, name) for name in ("depthwise_impl", "roi_align_impl")):
        return forms["cpu"](variables, *inputs)
    return jax.lax.platform_dependent(variables, *inputs, **forms)


def _check(data: bytes, inference: Inference) -> None:
    examples = inference.examples(2)
    found: Any = jax_export.deserialize(bytearray(data)).call(*examples)
    if inference.takes_sizes:
        check_detector(inference, found, examples)
        return
    difference = largest_difference(found, inference.reference(*examples))
    if not difference <= TOLERANCE:
        raise UserError(
            f"the exported function differs from the network by {difference:.1e} of its logits, "
            f"more than {TOLERANCE:.0e}; nothing was written, please report it"
        )
