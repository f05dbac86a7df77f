"""Batches by step: content is a function of (seed, step, global position) and of nothing else.

A batch is made of chunks of up to CHUNK_ROWS consecutive rows. Chunks are what Grain hands to its
worker processes in turn, so that all of them work on the same batch, and what this process joins
into batches again. Grain's position is simply the chunk's number counted from start_step: going on
at any step costs nothing and needs no iterator state.
"""

import gc
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from inceptionnext_jax.data import sampler
from inceptionnext_jax.data.bad_images import GOOD, BadImages, first_good
from inceptionnext_jax.data.crop import (
    NUM_UNIFORMS,
    check_interpolation,
    eval_pixels,
    train_pixels,
)
from inceptionnext_jax.data.dataset import Example, Source
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.data.multilabel import empty_labels
from inceptionnext_jax.errors import UserError

CHUNK_ROWS = 32  # 4.8 MB at 224 pixels: small enough for shared memory, large enough for pickling
_ENDLESS = 2**40  # steps; "no stop_step"

Batch = dict[str, np.ndarray]


class _Rows(Protocol):
    """Makes the rows lo..hi-1 of this process's part of a step's batch."""

    @property
    def num_rows(self) -> int: ...

    @property
    def source(self) -> Source: ...

    def pixels(self, example: Example) -> np.ndarray: ...

    def make(self, step: int, lo: int, hi: int) -> Batch: ...


@dataclass(frozen=True)
class _TrainRows:
    source: Source
    seed: int
    batch_size: int
    positions: np.ndarray
    image_size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    hflip: float
    interpolation: str

    @property
    def num_rows(self) -> int:
        return len(self.positions)

    def make(self, step: int, lo: int, hi: int) -> Batch:
        images = np.empty((hi - lo, self.image_size, self.image_size, 3), np.uint8)
        labels = empty_labels(self.source, hi - lo)
        bad = np.empty(hi - lo, np.int64)
        for row, position in enumerate(self.positions[lo:hi].tolist()):
            index = sampler.train_index(
                seed=self.seed,
                step=step,
                position=position,
                batch_size=self.batch_size,
                num_examples=len(self.source),
            )
            draw = step * self.batch_size + position
            images[row], example, bad[row] = first_good(
                self.source, index, partial(self.pixels, draw=draw)
            )
            labels[row] = example.label
        return {"image": images, "label": labels, "bad": bad}

    def pixels(self, example: Example, draw: int = 0) -> np.ndarray:
        return train_pixels(
            example.image,
            sampler.image_uniforms(self.seed, draw, NUM_UNIFORMS),
            size=self.image_size,
            scale=self.scale,
            ratio=self.ratio,
            hflip=self.hflip,
            interpolation=self.interpolation,
            name=example.name,
        )


@dataclass(frozen=True)
class _EvalRows:
    source: Source
    batch_size: int
    positions: np.ndarray
    image_size: int
    crop_pct: float
    interpolation: str

    @property
    def num_rows(self) -> int:
        return len(self.positions)

    def make(self, step: int, lo: int, hi: int) -> Batch:
        index = step * self.batch_size + self.positions[lo:hi]
        shown = index < len(self.source)
        images = np.zeros((hi - lo, self.image_size, self.image_size, 3), np.uint8)
        labels = empty_labels(self.source, hi - lo)
        bad = np.full(hi - lo, GOOD, np.int64)
        for row in np.flatnonzero(shown):
            example = self.source[int(index[row])]
            try:
                images[row] = self.pixels(example)
                labels[row] = example.label
            except BadImageError:
                shown[row], bad[row] = False, index[row]
        return {
            "image": images,
            "label": labels,
            "mask": shown.astype(np.float32),
            "index": np.where(shown, index, -1).astype(np.int32),
            "bad": bad,
        }

    def pixels(self, example: Example) -> np.ndarray:
        return eval_pixels(
            example.image,
            size=self.image_size,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            name=example.name,
        )


class _Chunks:
    """Random access to chunks, as Grain wants it; item 0 is the first chunk of start_step."""

    def __init__(self, rows: _Rows, start_step: int, stop_step: int | None):
        self.rows = rows
        self.start_step = start_step
        self.per_step = math.ceil(rows.num_rows / CHUNK_ROWS)
        steps = _ENDLESS if stop_step is None else max(0, stop_step - start_step)
        self.length = steps * self.per_step

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Batch:
        step, chunk = divmod(int(item), self.per_step)
        lo = chunk * CHUNK_ROWS
        return self.rows.make(self.start_step + step, lo, min(lo + CHUNK_ROWS, self.rows.num_rows))


class BatchIterator(Iterator[Batch]):
    """Yields one batch a step. Close it, or use it in a `with`, to end the worker processes."""

    def __init__(self, chunks: _Chunks, workers: int, max_bad: float):
        self._chunks = chunks
        self.bad = BadImages(chunks.rows.source, chunks.rows.pixels, max_bad)
        self._iterator: Any = _grain_iterator(chunks, workers) if len(chunks) else None

    def __next__(self) -> Batch:
        if self._iterator is None:
            raise StopIteration
        batch = self._next()
        self.bad.note(batch.pop("bad"))
        return batch

    def _next(self) -> Batch:
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

    def _join(self, first: Batch) -> Batch:
        n = self._chunks.rows.num_rows
        batch = {key: np.empty((n, *value.shape[1:]), value.dtype) for key, value in first.items()}
        chunk, at = first, 0
        for left in range(self._chunks.per_step - 1, -1, -1):
            rows = len(chunk["label"])
            for key, value in chunk.items():
                batch[key][at : at + rows] = value
            at += rows
            if left:
                chunk = next(self._iterator)
        return batch

    def close(self) -> None:
        """Stops worker processes and threads; the iterator is then at its end."""
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
    *,
    seed: int,
    batch_size: int,
    positions: np.ndarray,
    start_step: int,
    stop_step: int | None = None,
    image_size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    interpolation: str = "random",
    workers: int,
    max_bad: float = 0.0,
) -> BatchIterator:
    """Returns training batches for the steps start_step .. stop_step - 1 (endless without one).

    An epoch is a permutation of the source cut into len(source) // batch_size steps; the rest of
    it is left out, a different rest each epoch.

    positions: [n] int, which rows of the global batch (0 .. batch_size - 1) to load, in order.
    workers: worker processes; 0 loads in threads of this process.
    max_bad: share of the images that may be undecodable; the next in the source stands in for one.
    Yields: {"image": [n, S, S, 3] uint8, "label": [n] int32, or [n, K] uint8 of multi-label data}.
    Raises UserError when there is no training split or it is smaller than a batch; while
    iterating, when more images cannot be decoded than max_bad allows.
    """
    if source is None:
        raise UserError("these data have no training split; set data.train_split or data.dir")
    if len(source) < batch_size:
        raise UserError(
            f"batch_size={batch_size} is larger than the {len(source)} training images; lower it"
        )
    check_interpolation(interpolation, allow_random=True)
    rows = _TrainRows(
        source=source,
        seed=seed,
        batch_size=batch_size,
        positions=_checked_positions(positions, batch_size),
        image_size=image_size,
        scale=(float(scale[0]), float(scale[1])),
        ratio=(float(ratio[0]), float(ratio[1])),
        hflip=hflip,
        interpolation=interpolation,
    )
    return BatchIterator(_Chunks(rows, start_step, stop_step), workers, max_bad)


def eval_batches(
    source: Source | None,
    *,
    batch_size: int,
    positions: np.ndarray,
    image_size: int,
    crop_pct: float,
    interpolation: str,
    workers: int,
    max_bad: float = 0.0,
) -> BatchIterator:
    """Returns ceil(len(source) / batch_size) batches that show every example exactly once.

    Batch k, position p shows example k * batch_size + p; every process gets equally many batches.

    positions, workers: as in `train_batches`. max_bad: undecodable images are left out.
    Yields: {"image": [n, S, S, 3] uint8, "label": [n] int32, "mask": [n] float32 (1 for an
    example, 0 for padding), "index": [n] int32 (the example's number, -1 for padding)}. Padding
    is a black image with label 0.
    """
    if source is None:
        raise UserError("these data have no evaluation split; set data.eval_split or data.dir")
    check_interpolation(interpolation, allow_random=False)
    rows = _EvalRows(
        source=source,
        batch_size=batch_size,
        positions=_checked_positions(positions, batch_size),
        image_size=image_size,
        crop_pct=crop_pct,
        interpolation=interpolation,
    )
    return BatchIterator(_Chunks(rows, 0, math.ceil(len(source) / batch_size)), workers, max_bad)


def _checked_positions(positions: np.ndarray, batch_size: int) -> np.ndarray:
    positions = np.asarray(positions, np.int64)
    if positions.ndim != 1 or not len(positions):
        raise ValueError(f"positions must be a non-empty vector, got shape {positions.shape}")
    if positions.min() < 0 or positions.max() >= batch_size:
        raise ValueError(f"positions must lie in [0, {batch_size}), got {positions}")
    return positions
