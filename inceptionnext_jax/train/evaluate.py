"""Evaluation: every example once, whatever the batch, devices and processes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.task import Task

HostBatch = dict[str, np.ndarray]
OpenBatches = Callable[[], AbstractContextManager[Iterator[HostBatch]]]


class StoppedError(Exception):
    """An evaluation was given up, because the run has been asked to stop."""


class Evaluator:
    """Sums a task's metrics over the evaluation batches; compiled once."""

    def __init__(self, task: Task, mesh: Mesh, batch_size: int, batches: OpenBatches, cache: bool):
        """batches: opens an iterator over this process's padded rows, "mask" among the arrays.

        cache: keep the decoded batches in memory after the first evaluation.
        """
        self._task, self._mesh, self._batch_size = task, mesh, batch_size
        self._open, self._cache = batches, cache
        self._kept: list[HostBatch] | None = None
        self._step = jax.jit(self._add, donate_argnums=1, out_shardings=meshes.replicated(mesh))

    def _add(self, variables: Any, sums: Any, batch: Any) -> Any:
        return jax.tree.map(jnp.add, sums, self._sums(variables, batch))

    def _sums(self, variables: Any, batch: Any) -> Any:
        batch = jax.tree.map(lambda array: array[0], batch)
        return self._task.metrics(self._task.predict(variables, batch), batch)

    def __call__(self, variables: Any, stopping: Callable[[], bool] | None = None) -> Any:
        """Returns the task's sums over all examples, on the host.

        Raises StoppedError where `stopping`, asked before each batch, says yes.
        """
        sums = None
        for host_batch in self._batches():
            if stopping is not None and stopping():
                raise StoppedError
            batch = meshes.to_device(host_batch, self._mesh, (1, self._batch_size))
            if sums is None:
                shapes = jax.eval_shape(self._sums, variables, batch)
                zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
                sums = jax.device_put(zeros, meshes.replicated(self._mesh))
            sums = self._step(variables, sums, batch)
        return jax.device_get(sums)

    def _batches(self) -> Iterator[HostBatch]:
        if self._kept is not None:
            yield from self._kept
            return
        kept = []
        with self._open() as batches:
            for batch in batches:
                if self._cache:
                    kept.append(batch)
                yield batch
        if self._cache:
            self._kept = kept
