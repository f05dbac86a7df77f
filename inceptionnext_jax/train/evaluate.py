"""Evaluation: every example once, whatever the batch, devices and processes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jax.sharding import Mesh

from inceptionnext_jax.runtime import multihost
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.types import Batch, HostBatch, PyTree, Records, Sums, Variables

OpenBatches = Callable[[], AbstractContextManager[Iterator[HostBatch]]]
Kept = list[tuple[int, Any]]  # (index of the example, the task's item)


class StoppedError(Exception):
    """An evaluation was given up, because the run has been asked to stop."""


class Evaluator:
    """Runs a task's evaluation over all batches; compiled once for each shape of them."""

    def __init__(self, task: Task, mesh: Mesh, batch_size: int, batches: OpenBatches, cache: bool):
        """batches: opens an iterator over this process's padded rows with "mask" and "index".

        cache: keep the decoded batches in memory after the first evaluation.
        """
        self._task, self._mesh, self._batch_size = task, mesh, batch_size
        self._open, self._cache = batches, cache
        self._cached: list[HostBatch] | None = None
        self._step = jax.jit(
            self._add,
            donate_argnums=1,
            out_shardings=(meshes.replicated(mesh), meshes.row_sharding(mesh)),
        )

    def _add(self, variables: Variables, sums: Sums, batch: Batch) -> tuple[Sums, Records]:
        new, records = self._evaluate(variables, batch)
        return jax.tree.map(jnp.add, sums, new), records

    def _evaluate(self, variables: Variables, batch: Batch) -> tuple[Sums, Records]:
        return self._task.evaluate(variables, jax.tree.map(lambda array: array[0], batch))

    def __call__(
        self, variables: Variables, stopping: Callable[[], bool] | None = None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Returns the task's (scalars, report) of all examples.

        Raises StoppedError where `stopping`, asked before each batch, says yes.
        """
        sums: Sums = None
        kept: Kept = []
        pending: tuple[Records, HostBatch] | None = None
        for host_batch in self._batches():
            if stopping is not None and stopping():
                raise StoppedError
            batch = meshes.to_device(host_batch, self._mesh, (1, self._batch_size))
            if sums is None:
                sums = self._zeros(variables, batch)
            sums, records = self._step(variables, sums, batch)
            if pending:  # fetched while this batch computes
                kept += self._collect(*pending)
            pending = records, host_batch
        if pending:
            kept += self._collect(*pending)
        return self._task.report(jax.device_get(sums), in_order(kept))

    def _zeros(self, variables: Variables, batch: Batch) -> Sums:
        shapes, _ = jax.eval_shape(self._evaluate, variables, batch)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.device_put(zeros, meshes.replicated(self._mesh))

    def _collect(self, records: Records, host_batch: HostBatch) -> Kept:
        """Returns the task's items of this process's rows, without padding."""
        if not jax.tree.leaves(records):
            return []
        rows = np.flatnonzero(host_batch["index"] >= 0)
        shown = {name: array[rows] for name, array in host_batch.items()}
        mine = jax.tree.map(lambda array: meshes.local_rows(array)[rows], records)
        items = self._task.collect(mine, shown)
        return list(zip(shown["index"].tolist(), items, strict=True))

    def _batches(self) -> Iterator[HostBatch]:
        if self._cached is not None:
            yield from self._cached
            return
        cached = []
        with self._open() as batches:
            for batch in batches:
                if self._cache:
                    cached.append(batch)
                yield batch
        if self._cache:
            self._cached = cached


def in_order(kept: Kept) -> list[Any]:
    """All processes' items in the order of the data, on each of them."""
    if jax.process_count() > 1:
        index, items = [index for index, _ in kept], [item for _, item in kept]
        data = serialization.msgpack_serialize({"index": index, "items": items})
        parts = map(serialization.msgpack_restore, multihost.all_gather_bytes(data))
        kept = [pair for part in parts for pair in zip(part["index"], part["items"], strict=True)]
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def evaluate_weights(
    evaluator: Evaluator,
    weights: Variables,
    averages: PyTree | None,
    stopping: Callable[[], bool] | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Evaluates variables, and their averages where there are any.

    Returns ({"eval/…": …, "eval_ema/…": …}, {"eval": report, "eval_ema": report}).
    Raises StoppedError where `stopping`, asked before each batch, says yes.
    """
    scores: dict[str, float] = {}
    reports: dict[str, Any] = {}
    for name, variables in (("eval", weights), ("eval_ema", averages)):
        if variables is not None:
            scalars, reports[name] = evaluator(variables, stopping)
            scores |= {f"{name}/{key}": value for key, value in scalars.items()}
    return scores, reports
