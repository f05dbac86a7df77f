"""Batches by step: content is a function of (seed, step, global position) and of nothing else.

This module knows sampling, workers, damage and order; the arrays of a batch are the transform's. A
batch is made of chunks of consecutive rows, few enough for shared memory. Grain hands chunks to its
worker processes in turn, so that all of them work on the same batch, and this process joins them
into batches again. Grain's position is simply the chunk's number counted from start_step:
continuing at any step costs nothing and needs no iterator state.
"""

import gc
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from inceptionnext_jax.data import sampler
from inceptionnext_jax.data.bad_images import GOOD, BadImages, first_good
from inceptionnext_jax.data.dataset import Example, Source
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.data.order import OnceEach, Order, ShuffledEpochs
from inceptionnext_jax.data.transform import ArraySpec, Transform
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.types import HostBatch

CHUNK_ROWS = 32  # 4.8 MB at 224 pixels: large enough for the cost of pickling
CHUNK_BYTES = 64 * 2**20  # at most, where one row is not larger: small enough for shared memory
_ENDLESS = 2**40  # steps; "no stop_step"
_BAD = "bad"  # a chunk's column of damaged examples, which batches do not have

BatchSpec = dict[str, ArraySpec]


class _Rows(Protocol):
    """Makes rows lo..hi-1 of this process's part of a step's batch."""

    @property
    def num_rows(self) -> int: ...

    @property
    def source(self) -> Source: ...

    @property
    def specs(self) -> tuple[BatchSpec, ...]: ...

    def load(self, example: Example) -> Any: ...

    def make(self, step: int, lo: int, hi: int) -> HostBatch: ...


@dataclass(frozen=True)
class _TrainRows:
    source: Source
    transforms: tuple[Transform, ...]
    order: Order
    seed: int
    batch_size: int
    positions: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.positions)

    @property
    def specs(self) -> tuple[BatchSpec, ...]:
        return tuple(dict(transform.spec) for transform in self.transforms)

    def make(self, step: int, lo: int, hi: int) -> HostBatch:
        transform = self.transforms[self.order.transform(step)]
        rows = _filled(transform.spec, hi - lo)
        rows[_BAD] = np.empty(hi - lo, np.int64)
        for row, position in enumerate(self.positions[lo:hi].tolist()):
            uniforms = self._uniforms(transform, step * self.batch_size + position)
            load = partial(transform, uniforms=uniforms)
            index = self.order.index(step, position)
            arrays, rows[_BAD][row] = first_good(self.source, index, load)
            for name, array in arrays.items():
                rows[name][row] = array
        return rows

    def load(self, example: Example) -> Any:
        transform = self.transforms[0]
        return transform(example, self._uniforms(transform, 0))

    def _uniforms(self, transform: Transform, draw: int) -> np.ndarray:
        return sampler.image_uniforms(self.seed, draw, transform.num_uniforms)


@dataclass(frozen=True)
class _EvalRows:
    source: Source
    transforms: tuple[Transform, ...]
    order: Order
    positions: np.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.positions)

    @property
    def specs(self) -> tuple[BatchSpec, ...]:
        row_specs = {"mask": ArraySpec((), "float32"), "index": ArraySpec((), "int32")}
        return tuple({**transform.spec, **row_specs} for transform in self.transforms)

    def make(self, step: int, lo: int, hi: int) -> HostBatch:
        transform = self.transforms[self.order.transform(step)]
        index = np.array([self.order.index(step, int(p)) for p in self.positions[lo:hi]], np.int64)
        shown = index >= 0
        rows = _filled(transform.spec, hi - lo)
        bad = np.full(hi - lo, GOOD, np.int64)
        for row in np.flatnonzero(shown):
            try:
                arrays = transform(self.source[int(index[row])], np.empty(0))
            except BadImageError:
                shown[row], bad[row] = False, index[row]
                continue
            for name, array in arrays.items():
                rows[name][row] = array
        return {
            **rows,
            "mask": shown.astype(np.float32),
            "index": np.where(shown, index, -1).astype(np.int32),
            _BAD: bad,
        }

    def load(self, example: Example) -> Any:
        return self.transforms[0](example, np.empty(0))


def _filled(spec: Any, count: int) -> HostBatch:
    return {
        name: np.full((count, *array.shape), array.fill, array.dtype)
        for name, array in spec.items()
    }


class _Chunks:
    """Random access to chunks, as Grain wants it; item 0 is the first chunk of start_step."""

    def __init__(self, rows: _Rows, start_step: int, stop_step: int | None):
        self.rows = rows
        self.start_step = start_step
        self.chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(map(_row_bytes, rows.specs))))
        self.per_step = math.ceil(rows.num_rows / self.chunk_rows)
        steps = _ENDLESS if stop_step is None else max(0, stop_step - start_step)
        self.length = steps * self.per_step

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> HostBatch:
        step, chunk = divmod(int(item), self.per_step)
        lo = chunk * self.chunk_rows
        hi = min(lo + self.chunk_rows, self.rows.num_rows)
        return self.rows.make(self.start_step + step, lo, hi)


def _row_bytes(spec: BatchSpec) -> int:
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in spec.values())


class BatchIterator(Iterator[HostBatch]):
    """Yields one batch a step. Close it, or use it in a `with`, to end the worker processes.

    specs: the arrays of a batch without its first axis, one entry for each shape that may occur.
    """

    def __init__(self, chunks: _Chunks, workers: int, max_bad: float):
        self._chunks = chunks
        self.specs = chunks.rows.specs
        self.bad = BadImages(chunks.rows.source, chunks.rows.load, max_bad)
        self._iterator: Any = _grain_iterator(chunks, workers) if len(chunks) else None

    def __next__(self) -> HostBatch:
        if self._iterator is None:
            raise StopIteration
        batch = self._next()
        self.bad.note(batch.pop(_BAD))
        return batch

    def _next(self) -> HostBatch:
        try:
            first = next(self._iterator)
            if self._chunks.per_step == 1:
                # Copied out: an array in shared memory must not outlive its worker.
                return {key: np.array(value) for key, value in first.items()}
            return self._join(first)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise RuntimeError(
                "a data worker process died; exit code -7 means that /dev/shm is full (docker: "
                "--shm-size=8g), -9 that memory ran out (set data.workers lower): " + str(error)
            ) from error

    def _join(self, first: HostBatch) -> HostBatch:
        n = self._chunks.rows.num_rows
        batch = {key: np.empty((n, *value.shape[1:]), value.dtype) for key, value in first.items()}
        chunk, at = first, 0
        for left in range(self._chunks.per_step - 1, -1, -1):
            rows = len(chunk[_BAD])
            for key, value in chunk.items():
                batch[key][at : at + rows] = value
            at += rows
            if left:
                chunk = next(self._iterator)
        return batch

    def close(self) -> None:
        """Stops worker processes and threads; the iterator is exhausted afterwards."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()
            del iterator
            gc.collect()  # Grain leaves the last arrays, which are shared memory, in a cycle

    def __enter__(self) -> "BatchIterator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _grain_iterator(chunks: _Chunks, workers: int) -> Any:
    _mark_flags_parsed()
    dataset = grain.MapDataset.source(chunks)
    if workers == 0:
        threads = min(os.cpu_count() or 1, 16)
        ahead = max(threads, 2 * chunks.per_step)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(dataset.to_iter_dataset(options))
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    processes = grain.MultiprocessingOptions(
        num_workers=workers,
        per_worker_buffer_size=max(2, math.ceil(chunks.per_step / workers)),
    )
    return iter(dataset.to_iter_dataset(options).mp_prefetch(processes, _start_worker))


def _mark_flags_parsed() -> None:
    """Grain reads absl flags, which are an error to read where absl.app has not parsed them."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _start_worker(worker: int, num_workers: int) -> None:
    """Runs first in each worker process."""
    del worker, num_workers
    _mark_flags_parsed()
    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which saves first
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent has gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def train_batches(
    source: Source | None,
    transforms: Sequence[Transform],
    *,
    seed: int,
    batch_size: int,
    positions: np.ndarray,
    start_step: int,
    stop_step: int | None = None,
    workers: int,
    max_bad: float = 0.0,
    order: Order | None = None,
) -> BatchIterator:
    """Returns training batches for the steps start_step .. stop_step - 1 (endless without one).

    positions: [n] int, which rows of the global batch (0 .. batch_size - 1) to load, in order.
    workers: worker processes; 0 loads in threads of this process.
    max_bad: share of the examples that may be damaged; the next in the source stands in for one.
    order: None is `ShuffledEpochs`.
    Yields: the transform's arrays with a first axis of n rows.
    Raises UserError when there is no training split or it is smaller than a batch; while
    iterating, when more examples are damaged than max_bad allows.
    """
    if source is None:
        raise UserError("these data have no training split; set data.train_split or data.dir")
    if len(source) < batch_size:
        raise UserError(
            f"batch_size={batch_size} is larger than the {len(source)} training images; lower it"
        )
    rows = _TrainRows(
        source=source,
        transforms=tuple(transforms),
        order=order or ShuffledEpochs(seed, batch_size, len(source)),
        seed=seed,
        batch_size=batch_size,
        positions=_checked_positions(positions, batch_size),
    )
    return BatchIterator(_Chunks(rows, start_step, stop_step), workers, max_bad)


def eval_batches(
    source: Source | None,
    transforms: Sequence[Transform],
    *,
    batch_size: int,
    positions: np.ndarray,
    workers: int,
    max_bad: float = 0.0,
    order: Order | None = None,
) -> BatchIterator:
    """Returns batches that show every example exactly once; every process gets equally many.

    positions, workers: as in `train_batches`. max_bad: damaged examples are left out.
    order: None is `OnceEach`.
    Yields: the transform's arrays and {"mask": [n] float32 (1 for an example, 0 for padding),
    "index": [n] int32 (the example's number, -1 for padding)}. Padding has the spec's fill values.
    """
    if source is None:
        raise UserError("these data have no evaluation split; set data.eval_split or data.dir")
    order = order or OnceEach(batch_size, len(source))
    rows = _EvalRows(source, tuple(transforms), order, _checked_positions(positions, batch_size))
    return BatchIterator(_Chunks(rows, 0, order.num_steps), workers, max_bad)


def _checked_positions(positions: np.ndarray, batch_size: int) -> np.ndarray:
    positions = np.asarray(positions, np.int64)
    if positions.ndim != 1 or not len(positions):
        raise ValueError(f"positions must be a non-empty vector, got shape {positions.shape}")
    if positions.min() < 0 or positions.max() >= batch_size:
        raise ValueError(f"positions must lie in [0, {batch_size}), got {positions}")
    return positions
