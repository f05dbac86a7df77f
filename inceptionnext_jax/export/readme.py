"""The README of an exported network."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

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
_DETECTOR = _STABLEHLO.replace(
    "logits = network.call(images)", "found = network.call(images, sizes)"
)
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
    "detection": """\
## From the results to objects in the image

Boxes are x1, y1, x2, y2 in pixels of the input, the likeliest first; a row that is not valid holds
nothing, and an image without objects has no valid row. Divide boxes by the factor by which the
image was resized. For the first image of a batch, whose own size is `original` (height, width):

```python
import numpy as np

found = {{name: np.asarray(array)[0] for name, array in found.items()}}
valid = found["valid"]
factor = np.array(original) / np.asarray(sizes)[0]
boxes = found["boxes"][valid] * np.tile(factor[::-1], 2)
scores, classes = found["scores"][valid], found["labels"][valid]
```
""",
}
_MASKS = """
Masks are probabilities of the pixels of an object, on a grid over its box:

```python
import cv2

pasted = []
for (x1, y1, x2, y2), mask in zip(boxes, found["masks"][valid]):
    side = len(mask)
    x = ((np.arange(original[1]) + 0.5 - x1) / (x2 - x1) * side - 0.5).astype(np.float32)
    y = ((np.arange(original[0]) + 0.5 - y1) / (y2 - y1) * side - 0.5).astype(np.float32)
    pasted.append(cv2.remap(mask, *np.meshgrid(x, y), cv2.INTER_LINEAR) >= 0.5)
```
"""
_RESULTS = {
    "boxes": "x1, y1, x2, y2 in pixels of the input",
    "scores": "0 … 1, descending",
    "labels": "classes",
    "valid": "which rows are objects",
    "masks": "probabilities on a grid over each box",
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
    steps = before.steps()
    if not inference.uint8:
        steps.append(
            f"Scale to 0 … 1, subtract the mean {_numbers(before.mean)} and divide by the standard "
            f"deviation {_numbers(before.std)}, by channel."
        )
    if inference.takes_sizes:
        steps.append("Set the padding to 0." if not inference.uint8 else "Give `sizes` too.")
    outputs = inference.outputs()
    after = _AFTER.get(model_info(network.name).task, "").format(side=side)
    if inference.takes_sizes and "masks" in outputs:
        after += _MASKS
    of_jax = _DETECTOR if inference.takes_sizes else _STABLEHLO
    usage = of_jax if format == "stablehlo" else _ONNX
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
        _table(inference, outputs),
        "Class k is line k + 1 of `classes.txt`.",
        "## Preprocessing",
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)),
        *([after.rstrip()] if after else []),
        "## Made with",
        ", ".join(
            [f"inceptionnext_jax {__version__}"]
            + [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES[format]]
        ),
    ]
    if network.licence:
        parts.append(f"Licence of the weights: {network.licence}")
    return "\n\n".join(parts) + "\n"


def _table(inference: Inference, outputs: Any) -> str:
    """Returns the names, shapes and types of inputs and outputs."""
    what = "uint8 pixels, 0 … 255" if inference.uint8 else "float32, normalised"
    rows = [("input", onnx_file.INPUT, f"{_shape(inference.image_shape)}, any B", what)]
    if inference.takes_sizes:
        rows.append(("input", "sizes", "[B, 2]", "int32, height and width of each image in it"))
        rows += [
            ("output", name, _shape(leaf.shape[1:]), f"{leaf.dtype}, {_RESULTS[name]}")
            for name, leaf in outputs.items()
        ]
    else:
        shape = _shape(outputs.shape[1:])
        rows.append(("output", onnx_file.OUTPUT, shape, "float32, before the softmax"))
    lines = [f"| {kind} | `{name}` | {shape} | {text} |" for kind, name, shape, text in rows]
    return "\n".join(["| | name | shape | type |", "|---|---|---|---|", *lines])


def _shape(sides: Sequence[int]) -> str:
    return f"[{', '.join(['B', *map(str, sides)])}]"


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
