"""Random access to TFRecord shards without TensorFlow, through an index that is built once.

A record is: 8 bytes little-endian length, 4 bytes masked CRC-32C of those, the payload, 4 bytes
masked CRC-32C of the payload. Building the index reads the 12-byte heads only and checks their
CRCs; the index is kept beside the shards, or in the cache folder when theirs is read-only.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inceptionnext_jax import files
from inceptionnext_jax.errors import UserError

_HEAD, _TAIL = 12, 4  # bytes around the payload
_FORMAT = 1  # of the index file
_THREADS = 16  # the walk waits for the disk, not for the processor
_REPORT_SHARDS = 64  # smaller sets finish before a message could be read


@dataclass(frozen=True)
class ShardIndex:
    """The positions of all records in some shards.

    names: file names, in order. sizes, mtimes: [S] int64, bytes and nanoseconds.
    counts: [S] int64 records in each shard. offsets, lengths: [N] int64, bytes, of the payloads.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    mtimes: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray


def load_or_build_index(paths: Sequence[Path], index_name: str) -> ShardIndex:
    """Returns the index of the shards `paths` (all in one folder), building it if needed.

    A stored index is used only if the shards' names, sizes and times match it.
    Raises UserError naming shard and offset if a shard is missing, cut off or damaged.
    """
    names = tuple(path.name for path in paths)
    stats = [_stat(path) for path in paths]
    sizes = np.array([s.st_size for s in stats], np.int64)
    mtimes = np.array([s.st_mtime_ns for s in stats], np.int64)
    candidates = [paths[0].parent / index_name, cache_folder(paths[0].parent) / index_name]
    for file in candidates:
        index = _read_index(file)
        if index is not None and _is_current(index, names, sizes, mtimes):
            return index
    index = _build(paths, sizes, mtimes)
    for file in candidates:
        with contextlib.suppress(OSError):
            _write_index(file, index)
            break
    return index


def cache_folder(data_folder: Path) -> Path:
    """Returns the folder that stands in for a read-only `data_folder`."""
    key = hashlib.sha256(os.fsencode(data_folder.resolve())).hexdigest()[:16]
    return files.cache_folder("index", key)


def read_payload(path: str, offset: int, length: int) -> bytes:
    """Returns the payload at `offset`.

    Reopens the file each time (microseconds), since a data set can have more shards than a process
    may keep open.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot open shard {path}: {error.strerror}") from error
    try:
        payload = os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
    if len(payload) != length:
        raise UserError(
            f"shard {path} ends at byte {offset + len(payload)}, inside a record; fetch it again"
        )
    return payload


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UserError(f"shard {path} cannot be read: {error.strerror}; fetch it again") from error


def _is_current(
    index: ShardIndex, names: tuple[str, ...], sizes: np.ndarray, mtimes: np.ndarray
) -> bool:
    return (
        index.names == names
        and np.array_equal(index.sizes, sizes)
        and np.array_equal(index.mtimes, mtimes)
        and int(index.counts.sum()) == len(index.offsets) == len(index.lengths)
    )


def _read_index(path: Path) -> ShardIndex | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != _FORMAT:
                return None
            names = tuple(str(name) for name in file["names"])
            fields = ("sizes", "mtimes", "counts", "offsets", "lengths")
            return ShardIndex(names, *(file[field] for field in fields))
    except Exception:  # missing, damaged in any way or foreign: only a cache, so it is rebuilt
        return None


def _write_index(path: Path, index: ShardIndex) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(
                file,
                format=np.int64(_FORMAT),
                names=np.array(index.names),
                sizes=index.sizes,
                mtimes=index.mtimes,
                counts=index.counts,
                offsets=index.offsets,
                lengths=index.lengths,
            )
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide it from the data's other readers
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _build(paths: Sequence[Path], sizes: np.ndarray, mtimes: np.ndarray) -> ShardIndex:
    with ThreadPoolExecutor(_THREADS) as pool:
        walked = pool.map(_walk, paths, sizes.tolist())
        parts = list(_with_progress(walked, len(paths), str(paths[0].parent)))
    return ShardIndex(
        names=tuple(path.name for path in paths),
        sizes=sizes,
        mtimes=mtimes,
        counts=np.array([len(offsets) for offsets, _ in parts], np.int64),
        offsets=np.concatenate([offsets for offsets, _ in parts]),
        lengths=np.concatenate([lengths for _, lengths in parts]),
    )


def _with_progress(parts: Iterator, total: int, folder: str) -> Iterator:
    reported = 0  # tenths
    for done, part in enumerate(parts, 1):
        yield part
        tenth = done * 10 // total
        if total >= _REPORT_SHARDS and tenth > reported:
            reported = tenth
            print(f"indexing {folder}: {done} of {total} shards", file=sys.stderr, flush=True)


def _walk(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (offsets, lengths) of the payloads in one shard, [n] int64 each."""
    heads, starts = bytearray(), []
    at, fault = 0, ""
    with open(path, "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # read-ahead would fetch most of the shard
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while at < size:
            head = os.pread(file.fileno(), _HEAD, at)
            if len(head) < _HEAD:
                fault = "is cut off inside a record's head"
                break
            starts.append(at)
            heads += head
            at += _HEAD + int.from_bytes(head[:8], "little") + _TAIL
            if at > size:
                fault = "is cut off inside a record"
                break
    fields = np.frombuffer(bytes(heads), np.uint8).reshape(-1, _HEAD)
    wrong = np.flatnonzero(masked_crc32c(fields[:, :8]) != fields[:, 8:].copy().view("<u4")[:, 0])
    if len(wrong):  # a damaged length, not a shard that ends early
        raise _broken(path, starts[wrong[0]], "has a damaged record (length checksum differs)")
    if fault:
        raise _broken(path, at if "head" in fault else starts[-1], fault)
    lengths = fields[:, :8].copy().view("<u8")[:, 0].astype(np.int64)
    return np.array(starts, np.int64) + _HEAD, lengths


def _broken(path: Path, offset: int, fault: str) -> UserError:
    return UserError(f"shard {path} {fault} at byte {offset}; fetch or prepare it again")


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


_TABLE = _crc_table()


def masked_crc32c(rows: np.ndarray) -> np.ndarray:
    """Returns TFRecord's masked CRC-32C of each row. rows: [n, bytes] uint8; returns [n] uint32."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _TABLE[(crc ^ column) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
