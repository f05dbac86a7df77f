"""The README of an exported network."""

import importlib.metadata

from inceptionnext_jax import __version__
from inceptionnext_jax.export import onnx_file, stablehlo
from inceptionnext_jax.export.function import Inference
from inceptionnext_jax.models import model_info

_PACKAGES = {
    "stablehlo": ("jax", "flax", "numpy"),
    "onnx": ("jax", "flax", "numpy", "jax2onnx", "onnx", "onnxruntime"),
}
_STABLEHLO = """\
```python
from jax import export

network = export.deserialize(bytearray(open("{file}", "rb").read()))
logits = network.call(images)
```

It needs only JAX, in the version below or one of the following six months, and runs on
{platforms}. The first call with a batch size compiles."""
_ONNX = """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {{"{input}": images}})
```

Opset {opset}; any ONNX runtime can run it."""


# By the task of the network: from its output to an answer.
_AFTER = {
    "segmentation": """\
## From logits to a label map

The output has a position for every 4 × 4 pixels. Enlarge the logits of each window bilinearly to
{side} × {side} (OpenCV's `INTER_LINEAR`, PyTorch's `align_corners=False`), average windows where
they overlap, and resize the result to the image's own size likewise. The class of a pixel is then
the argmax over the last axis. For an image that is one window:

```python
import cv2
import numpy as np

label_map = cv2.resize(np.asarray(logits)[0], ({side}, {side})).argmax(axis=-1)
```""",
}


def readme(inference: Inference, format: str, file: str, size: int) -> str:
    """Returns the text: usage, input and output, preprocessing, versions.

    Args:
      inference: The exported network.
      format: "stablehlo" or "onnx".
      file: Name of the exported file.
      size: Bytes of the file.
    """
    network = inference.pretrained
    before, side = network.preprocessing, network.preprocessing.image_size
    shape = ", ".join(map(str, inference.output_shape))
    what = "uint8 pixels, 0 … 255" if inference.uint8 else "float32, normalised"
    steps = before.steps()
    if not inference.uint8:
        steps.append(
            f"Scale to 0 … 1, subtract the mean {_numbers(before.mean)} and divide by the standard "
            f"deviation {_numbers(before.std)}, by channel."
        )
    after = _AFTER.get(model_info(network.name).task, "")
    usage = _STABLEHLO if format == "stablehlo" else _ONNX
    parts = [
        f"# {network.name}, {network.num_classes} classes",
        f"`{file}` ({size / 1e6:.1f} MB) is the inference form of {network.name}: norms are folded "
        f"into weights, layers merged where they can be.",
        usage.format(
            file=file,
            platforms=", ".join(stablehlo.PLATFORMS),
            input=onnx_file.INPUT,
            opset=onnx_file.OPSET,
        ),
        "\n".join(
            [
                "| | name | shape | type |",
                "|---|---|---|---|",
                f"| input | `{onnx_file.INPUT}` | [B, {side}, {side}, 3], any B | {what} |",
                f"| output | `{onnx_file.OUTPUT}` | [B, {shape}] | float32, before the softmax |",
            ]
        ),
        "Class k is line k + 1 of `classes.txt`.",
        "## Preprocessing",
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)),
        *([after.format(side=side)] if after else []),
        "## Made with",
        ", ".join(
            [f"inceptionnext_jax {__version__}"]
            + [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES[format]]
        ),
    ]
    if network.licence:
        parts.append(f"Licence of the weights: {network.licence}")
    return "\n\n".join(parts) + "\n"


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
