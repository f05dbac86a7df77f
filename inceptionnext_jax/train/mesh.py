"""The ("data", "fsdp") mesh and the shardings of arrays on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_count
from inceptionnext_jax.groups import check_group, nearest_multiples

# Below this many elements a copy on each device costs less than the messages.
FSDP_MIN_SIZE = 2**12


def make_mesh(data: int, fsdp: int) -> Mesh:
    """All devices as ("data", "fsdp"); Auto axes, so that the compiler places the collectives."""
    return jax.make_mesh((data, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """For arrays [accumulate, micro_batch, ...]: the micro-batch is spread over all devices."""
    return NamedSharding(mesh, PartitionSpec(None, ("data", "fsdp")))


def row_sharding(mesh: Mesh) -> NamedSharding:
    """For arrays [batch, ...]: the rows are spread over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """Shapes and dtypes together with the shardings that arrays of them are to have."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Splits each large array along its largest dimension that `fsdp` divides; copies the rest.

    The rule sees shapes only, so the optimizer's moments and averages lie as their parameters do.
    """
    fsdp = mesh.shape["fsdp"]

    def sharding_of(leaf: Any) -> NamedSharding:
        spec: list[str | None] = [None] * len(leaf.shape)
        splittable = [axis for axis, size in enumerate(leaf.shape) if size % fsdp == 0]
        if fsdp > 1 and splittable and leaf.size >= FSDP_MIN_SIZE:
            spec[max(splittable, key=lambda axis: leaf.shape[axis])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(sharding_of, state)


def local_positions(mesh: Mesh, accumulate: int, micro_batch: int) -> np.ndarray:
    """Positions in the global batch that this process loads, in order. [n] int64.

    Row r of micro-batch a stands at a * micro_batch + r: micro-batches are consecutive slices of
    the global batch, whatever the mesh.
    """
    indices = batch_sharding(mesh).addressable_devices_indices_map((accumulate, micro_batch))
    slices = [index[1] for index in indices.values() if index is not None]
    rows = sorted({(s.start or 0, micro_batch if s.stop is None else s.stop) for s in slices})
    local = np.concatenate([np.arange(start, stop) for start, stop in rows])
    return (np.arange(accumulate)[:, None] * micro_batch + local).reshape(-1)


def to_device(batch: dict[str, np.ndarray], mesh: Mesh, shape: Sequence[int]) -> Any:
    """Host arrays [n, ...] of this process -> global arrays [accumulate, micro_batch, ...]."""
    sharding = batch_sharding(mesh)
    accumulate = shape[0]

    def put(array: np.ndarray) -> jax.Array:
        local = array.reshape(accumulate, -1, *array.shape[1:])
        return jax.make_array_from_process_local_data(sharding, local, (*shape, *array.shape[1:]))

    return jax.tree.map(put, batch)


def abstract_batch(spec: Mapping[str, Any], mesh: Mesh, shape: Sequence[int]) -> Any:
    """The shapes of `to_device`'s result; spec: (row's shape, dtype, …) by name."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((*shape, *row.shape), row.dtype, sharding=sharding)
        for name, row in spec.items()
    }


def local_rows(array: jax.Array) -> np.ndarray:
    """The rows of a global array [batch, ...] that lie on this process, in order."""
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def check_mesh(mesh: ConfigDict, devices: int) -> list[str]:
    """Returns all that is wrong with the section on so many devices: one sentence each."""
    section = Section(mesh, "mesh")
    section.count("data", least=None)
    section.count("fsdp", least=1)
    if section.is_set("data") and mesh.data != -1 and mesh.data < 1:
        section.add("data", f"mesh.data={mesh.data} must be > 0, or -1 for all devices")
    if section.is_set("fsdp") and devices % mesh.fsdp:
        section.add("fsdp", f"mesh.fsdp={mesh.fsdp} does not divide the {devices} devices")
    if section.is_set("data", "fsdp") and mesh.data not in (-1, devices // mesh.fsdp):
        section.add(
            "data",
            f"mesh.data={mesh.data} × mesh.fsdp={mesh.fsdp} is {mesh.data * mesh.fsdp}, expected "
            f"the {devices} devices; set mesh.data={devices // mesh.fsdp} or -1",
        )
    return section.problems


def check_batch(config: ConfigDict, devices: int) -> list[str]:
    """Returns each reason why the batch cannot be divided over devices, micro-batches and groups.

    One sentence each, `batch_size` itself included.
    """
    section = Section(config)
    section.count("batch_size", least=1, below=2**31)
    batch, accumulate = config.batch_size, config.optim.accumulate
    group = config.model.bn_group_size
    if not section.is_set("batch_size") or not is_count(accumulate, 1):
        return section.problems
    parts = devices * accumulate
    if batch % parts:
        section.add(
            "batch_size",
            f"batch_size={batch} is not a multiple of {devices} devices × "
            f"optim.accumulate={accumulate}; try {nearest_multiples(batch, parts)}",
        )
    elif is_count(group, 0):
        section.add("batch_size", *check_group("model.bn_group_size", group, batch, accumulate))
    return section.problems
