"""Memory of compiled programs, and their traffic between devices."""

import math
import re
from collections import Counter
from typing import Any

_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "s64": 8, "pred": 1}
_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(?:-start)?\("
)
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def temporary_bytes(compiled: Any) -> int:
    """Returns the bytes that a program allocates beyond arguments and results."""
    return compiled.memory_analysis().temp_size_in_bytes


def collectives(compiled: Any) -> dict[str, dict[str, int]]:
    """Returns the number and bytes of each kind of collective in a program."""
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for shapes, kind in _COLLECTIVE.findall(compiled.as_text()):
        count[kind] += 1
        for dtype, dimensions in _SHAPE.findall(shapes):
            numbers = [int(n) for n in dimensions.split(",") if n]
            size[kind] += math.prod(numbers) * _BYTES.get(dtype, 4)
    return {kind: {"count": count[kind], "bytes": size[kind]} for kind in sorted(count)}
