"""ONNX graphs with channels first throughout, as PyTorch's users export them.

JAX's maps have their channels last, ONNX's convolutions first: an exported network transposes its
maps around each convolution, which runtimes' fast paths do without. Here operations on channels get
the layout of the convolutions: Concat and Split, sums, GELU, and matrix products as 1×1
convolutions.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def channels_first(graph: Any) -> None:
    """Rewrites an onnx.GraphProto in place; values stay the same but for rounding."""
    nodes = list(_Rewriter(graph).rewritten())
    del graph.node[:]
    graph.node.extend(nodes)


class _Rewriter:
    """Rewrites the nodes in order and remembers which maps have a channels-first form."""

    def __init__(self, graph: Any):
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._first: dict[str, str] = {}  # NHWC name -> NCHW name
        self._same: dict[str, str] = {}  # transposed by the original graph -> NCHW name
        self._made: set[str] = set()  # NHWC names that have been created on request

    def rewritten(self) -> Iterator[Any]:
        from onnx import helper

        for node in self._graph.node:
            if node.op_type == "Transpose" and self._is_noted(node):
                continue
            changed = self._changed(node)
            if changed is not None:
                yield changed
                continue
            node.input[:] = [self._same.get(name, name) for name in node.input]
            for name in node.input:
                if name in self._first and name not in self._made:
                    self._made.add(name)
                    yield helper.make_node(
                        "Transpose", [self._first[name]], [name], name=f"{name}_nhwc", perm=TO_NHWC
                    )
            yield node

    def _is_noted(self, node: Any) -> bool:
        """Records a Transpose between the two layouts; returns False for any other."""
        source, (output,) = node.input[0], node.output
        perm = list(_attributes(node)["perm"])
        if perm == TO_NHWC:
            self._first[output] = self._same.get(source, source)
        elif perm == TO_NCHW and source in self._first:
            self._same[output] = self._first[source]
        else:
            return False
        return True

    def _changed(self, node: Any) -> Any:
        """Returns the node with channels first, or None if it has no such form."""
        from onnx import helper

        if node.op_type == "Reshape":
            return self._product(node)
        inputs = [self._first.get(name, name) for name in node.input]
        known = [name in self._first for name in node.input]
        attributes = _attributes(node)
        by_channel = attributes.get("axis") in (3, -1)
        is_join = node.op_type == "Concat" and all(known) and by_channel
        is_cut = node.op_type == "Split" and known[0] and by_channel
        if is_join or is_cut:
            attributes["axis"] = 1
        elif node.op_type not in ("Gelu", "Add") or not all(known):
            return None
        outputs = [self._name(name) for name in node.output]
        return helper.make_node(node.op_type, inputs, outputs, name=outputs[0], **attributes)

    def _product(self, node: Any) -> Any:
        """Returns Reshape → Gemm → `node`, a Reshape back to a map, as a 1×1 convolution."""
        from onnx import helper, numpy_helper

        gemm = self._producers.get(node.input[0])
        if gemm is None or gemm.op_type != "Gemm" or gemm.input[1] not in self._constants:
            return None
        before = self._producers.get(gemm.input[0])
        if before is None or before.op_type != "Reshape" or before.input[0] not in self._first:
            return None
        map_name = before.input[0]
        if self._sides_of(node.input[1]) != map_name or not _is_plain(gemm):
            return None
        kernel = numpy_helper.to_array(self._constants[gemm.input[1]]).T[:, :, None, None]
        weight = f"{gemm.output[0]}_kernel"
        self._graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(kernel), weight)
        )
        output = self._name(node.output[0])
        inputs = [self._first[map_name], weight, *gemm.input[2:]]
        return helper.make_node("Conv", inputs, [output], name=output, kernel_shape=[1, 1])

    def _sides_of(self, shape: str) -> str | None:
        """The tensor whose sides a shape has: Concat(Slice(Shape(tensor)), [channels])."""
        kinds = ("Concat", "Slice", "Shape")
        for kind in kinds:
            node = self._producers.get(shape)
            if node is None or node.op_type != kind:
                return None
            shape = node.input[0]
        return shape

    def _name(self, nhwc: str) -> str:
        self._first[nhwc] = f"{nhwc}_nchw"
        return self._first[nhwc]


def _is_plain(gemm: Any) -> bool:
    """Whether a Gemm is an unscaled product plus a bias, without transposition."""
    given = _attributes(gemm)
    scaled = given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0
    return not scaled and not given.get("transA", 0) and not given.get("transB", 0)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
