"""ONNX through `jax2onnx`, compared in onnxruntime before it is returned."""

import importlib.util
import logging
from typing import Any

import jax
import numpy as np

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export import onnx_graph
from inceptionnext_jax.export.function import Inference, largest_difference
from inceptionnext_jax.models import model_info
from inceptionnext_jax.runtime.log_levels import log_level

FILE = "model.onnx"
INPUT, OUTPUT = "images", "logits"
OPSET = 20  # the first with GELU
TOLERANCE = 1e-5
_NEEDED = ("jax2onnx", "onnx", "onnxruntime")


def require() -> None:
    """Raises UserError if optional packages are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"format=onnx needs the packages {', '.join(missing)}; run: pip install -e '.[onnx]'"
        )


def check_network(name: str) -> None:
    """Raises UserError if ONNX cannot hold the network of this name."""
    if model_info(name).task == "detection":
        raise UserError(
            f"{name} cannot be written as ONNX: jax2onnx has no loops of unknown length over a "
            f"batch, which the suppression of overlapping boxes is; take --format stablehlo"
        )


def to_onnx(inference: Inference) -> bytes:
    """Serialises [B, S, S, 3] -> logits [B, …] for any B, weights inside.

    Depthwise convolutions become grouped ones, for which runtimes have kernels.

    Raises:
      UserError: A package is missing, jax2onnx cannot write an operation of the network, or
        onnxruntime computes something else.
    """
    require()
    model = _converted(inference)
    onnx_graph.optimise(model)
    data: bytes = model.SerializeToString()
    _check(data, inference)
    return data


def _converted(inference: Inference) -> Any:
    from jax2onnx import to_onnx as convert

    (batch,) = jax.export.symbolic_shape("B")
    logits, name = inference.function("conv", "dense"), inference.pretrained.name
    try:
        with log_level("onnx_ir", logging.ERROR):  # it warns of shapes without names
            return convert(
                lambda images: logits(inference.variables, images),
                list(inference.inputs(batch)),
                model_name=name,
                opset=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
    except NotImplementedError as error:
        side = inference.image_shape[0]
        raise UserError(
            f"{name} at {side} pixels has an operation that jax2onnx cannot write ({error}); take "
            f"--format stablehlo, or the network at its own size"
        ) from error


def _check(data: bytes, inference: Inference) -> None:
    """Compares the file with the network, in batches of one and of several images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (examples,) = inference.examples(3)
    expected = inference.reference(examples)
    for count in (1, 3):
        (found,) = session.run(None, {INPUT: examples[:count]})
        difference = largest_difference(np.asarray(found), expected[:count])
        if not difference <= TOLERANCE:
            raise UserError(
                f"onnxruntime differs from the network by {difference:.1e} of its logits, more "
                f"than {TOLERANCE:.0e}; nothing was written, please report it"
            )
