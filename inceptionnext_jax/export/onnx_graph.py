"""ONNX graphs rewritten into the patterns for which runtimes have fast kernels.

JAX adds a convolution's bias afterwards, slices channels one part at a time and keeps them last;
runtimes expect a bias as an input of `Conv`, copy less for one `Split` and want channels first.
Values stay the same but for rounding.
"""

import itertools
from collections import Counter
from typing import Any

import numpy as np

from inceptionnext_jax.export.onnx_layout import TO_NHWC, channels_first


def optimise(model: Any) -> None:
    """Rewrites the graph of an onnx.ModelProto in place."""
    _drop_identities(model.graph)
    _join_gelus(model.graph)
    _fuse_biases(model.graph)
    _join_slices(model.graph)
    channels_first(model.graph)
    _drop_unused(model.graph)


def _drop_identities(graph: Any) -> None:
    """Removes Identity nodes whose output is not an output of the graph."""
    returned = {output.name for output in graph.output}
    source: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in returned:
            source[node.output[0]] = node.input[0]
    _replace(graph, dict.fromkeys(source), "Identity")


def _join_gelus(graph: Any) -> None:
    """Replaces (0.5 x) (1 + erf(x √½)), the form of `ops.gelu`, by Gelu; leaves nodes unused."""
    from onnx import helper, numpy_helper

    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}

    def operand(name: str, op_type: str, value: float) -> str | None:
        """The x of `name` = op(x, constant of this value), or None for anything else."""
        node: Any = producers.get(name)
        if node is None or node.op_type != op_type:
            return None
        for one, other in (tuple(node.input), tuple(reversed(node.input))):
            constant = constants.get(other)
            if constant is not None and constant.size == 1 and np.isclose(constant.item(), value):
                return one
        return None

    joined = {}
    for node in graph.node:
        if node.op_type != "Mul":
            continue
        for half, rest in (tuple(node.input), tuple(reversed(node.input))):
            x, curve = operand(half, "Mul", 0.5), producers.get(operand(rest, "Add", 1.0) or "")
            if x is None or curve is None or curve.op_type != "Erf":
                continue
            if operand(curve.input[0], "Mul", np.sqrt(0.5)) == x:
                output = node.output[0]
                joined[output] = helper.make_node("Gelu", [x], [output], name=output)
                break
    _replace(graph, joined, "Mul")


def _fuse_biases(graph: Any) -> None:
    """Conv → Transpose to NHWC → Add of a vector becomes Conv with bias → Transpose."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    uses = _uses(graph)
    fused = []
    for add in graph.node:
        if add.op_type != "Add":
            continue
        for value, constant in (tuple(add.input), tuple(reversed(add.input))):
            transpose: Any = producers.get(value)
            if constant not in constants or not _is_transpose(transpose) or uses[value] != 1:
                continue
            conv: Any = producers.get(transpose.input[0])
            bias = numpy_helper.to_array(constants[constant])
            is_plain = conv is not None and conv.op_type == "Conv" and len(conv.input) == 2
            if not is_plain or uses[conv.output[0]] != 1 or not 1 < bias.size == bias.shape[-1]:
                continue
            name = f"{conv.output[0]}_bias"
            graph.initializer.append(numpy_helper.from_array(bias.reshape(-1), name))
            conv.input.append(name)
            transpose.output[0] = add.output[0]
            fused.append(add.output[0])
            break
    # Its Transpose has the same name by now and comes first.
    _replace(graph, dict.fromkeys(fused), "Add")


def _join_slices(graph: Any) -> None:
    """Replaces slices of one tensor that tile its last axis by one Split."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    groups: dict[str, list[tuple[int, int, Any]]] = {}
    for node in graph.node:
        if node.op_type == "Slice" and all(name in constants for name in node.input[1:]):
            arrays = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
            starts, ends, axes = arrays[:3]
            steps = arrays[3] if len(arrays) > 3 else np.ones(1, np.int64)
            if len(axes) == 1 and axes[0] == 3 and steps[0] == 1:
                group = groups.setdefault(node.input[0], [])
                group.append((int(starts[0]), int(ends[0]), node))
    sizes = {value.name: _last_dim(value) for value in graph.value_info}
    for tensor, group in groups.items():
        group.sort(key=lambda part: part[0])
        channels = sizes.get(tensor, 0)
        bounds = [*(start for start, _, _ in group), min(group[-1][1], channels)]
        is_tiled = all(one[1] == following[0] for one, following in itertools.pairwise(group))
        if len(group) < 2 or bounds[0] != 0 or not is_tiled or bounds[-1] != channels:
            continue
        name = f"{tensor}_parts"
        graph.initializer.append(numpy_helper.from_array(np.diff(bounds).astype(np.int64), name))
        outputs = [part[2].output[0] for part in group]
        split = helper.make_node("Split", [tensor, name], outputs, name=f"{tensor}_split", axis=3)
        first = next(n.output[0] for n in graph.node if n.output[0] in outputs)
        _replace(graph, {name: split if name == first else None for name in outputs}, "Slice")


def _drop_unused(graph: Any) -> None:
    """Removes nodes and constants without uses, about which runtimes would warn."""
    uses = _uses(graph)
    alive = []
    for node in reversed(graph.node):  # uses of a value come after it
        if any(uses[name] for name in node.output):
            alive.append(node)
        else:
            uses.subtract(node.input)
    del graph.node[:]
    graph.node.extend(reversed(alive))
    kept = [tensor for tensor in graph.initializer if uses[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _last_dim(value: Any) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[-1].dim_value if dims else 0


def _uses(graph: Any) -> Counter:
    names = Counter(name for node in graph.node for name in node.input)
    names.update(output.name for output in graph.output)
    return names


def _is_transpose(node: Any) -> bool:
    if node is None or node.op_type != "Transpose":
        return False
    return any(a.name == "perm" and list(a.ints) == TO_NHWC for a in node.attribute)


def _replace(graph: Any, by_output: dict[str, Any], op_type: str) -> None:
    """Replaces each node of the type with such an output by another, or by nothing (None)."""
    kept = []
    for node in graph.node:
        if node.op_type == op_type and node.output[0] in by_output:
            node = by_output[node.output[0]]
        if node is not None:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
