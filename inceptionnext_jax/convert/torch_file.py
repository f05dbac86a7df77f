"""Files of torch.save, read without PyTorch and without running anything in them.

Such a file is a zip archive: `data.pkl` describes objects and tensors, `data/<key>` holds the
numbers. The description is read by `pickle_reader`, and every size in it is checked against the
bytes present before anything of that size is allocated.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptionnext_jax.convert.pickle_reader import Global, RefusedError, plain_keys, read_pickle
from inceptionnext_jax.errors import UserError

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of old files
_STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}
# Errors that reading a damaged archive may raise; RuntimeError stands for encryption.
ZIP_ERRORS = (
    zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError, RuntimeError, struct.error,
    zlib.error,
)  # fmt: skip


class Storage(NamedTuple):
    """Numbers in the archive: `key` of `data/<key>`, their type and their count."""

    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage, with sizes as the file claims them; `TorchFile.array` reads it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements


class TorchFile:
    """An open file of torch.save; `root` is the saved object, with `Tensor` for its tensors."""

    def __init__(self, path: Path):
        """Raises UserError if the file is of another kind, damaged, or asks for more than data."""
        self._path = path
        with path.open("rb") as file:
            start = file.read(len(_LEGACY))
        if start == _LEGACY:
            raise UserError(
                f"{path} is in PyTorch's format from before 1.6, which cannot be read without "
                f"unpickling; write it again with PyTorch: "
                f"torch.save(torch.load({path.name!r}, weights_only=True), 'new.pth')"
            )
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is not a file of torch.save, or is cut off: no zip archive")
        try:
            self._archive = zipfile.ZipFile(path)
            self._folder = self._find_folder()
            self.root = self._read_root()
        except RefusedError as error:
            raise UserError(
                f"{path} asks for {error} while it is read, and only tensors, plain containers and "
                f"numbers are allowed; if you trust it, load it in PyTorch and save "
                f"the state dict alone"
            ) from error
        except ZIP_ERRORS as error:
            raise self._damaged(error) from error

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def _damaged(self, error: Exception) -> UserError:
        return UserError(f"{self._path} is damaged: {error}; fetch or write it again")

    def _find_folder(self) -> str:
        """The archive's one top folder, with a slash."""
        found = [name for name in self._archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1 or found[0].count("/") != 1:
            raise ValueError(f"expected one <folder>/data.pkl in it, found {len(found)}")
        return found[0].removesuffix("data.pkl")

    def _read_root(self) -> Any:
        if f"{self._folder}byteorder" in self._archive.namelist():
            order = self._read("byteorder")
            if order != b"little":
                raise ValueError(f"its byte order is {order!r}, expected little")
        return read_pickle(self._read("data.pkl"), _CALLS, _storage)

    def _read(self, name: str) -> bytes:
        """An entry's bytes; torch.save never compresses, so no entry exceeds the file."""
        entry = self._archive.getinfo(self._folder + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"entry {entry.filename} is compressed, which torch.save never does")
        if entry.file_size > self._path.stat().st_size:
            raise ValueError(f"entry {entry.filename} claims {entry.file_size:,} bytes")
        return self._archive.read(entry)

    def array(self, name: str, tensor: Tensor) -> np.ndarray:
        """A tensor's numbers in a new array; bfloat16 becomes float32.

        Raises UserError, naming the tensor, if they are not in the file.
        """
        storage, offset, shape, strides = tensor
        try:
            if f"{self._folder}data/{storage.key}" not in self._archive.NameToInfo:
                raise ValueError(f"{name} has no numbers: there is no data/{storage.key}")
            data = self._read(f"data/{storage.key}")
            dtype = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
            if len(data) != storage.length * dtype.itemsize:
                raise ValueError(
                    f"{name} needs {storage.length:,} numbers, data/{storage.key} has "
                    f"{len(data):,} bytes"
                )
            values = np.frombuffer(data, dtype)
            size = math.prod(shape)
            last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
            if size and (size > len(values) or last >= len(values)):
                raise ValueError(f"{name} claims shape {list(shape)} of {len(values):,} numbers")
        except ZIP_ERRORS as error:
            raise self._damaged(error) from error
        if not size:
            return np.zeros(shape, dtype)
        in_bytes = [stride * dtype.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(values[offset:], shape, in_bytes, writeable=False)
        return widen_bfloat16(view) if storage.dtype == "bfloat16" else np.array(view, order="C")


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Converts bfloat16 bit patterns, uint16, to the same numbers in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _storage(identity: Any) -> Storage:
    """('storage', type, key, location, length), as torch.save writes it."""
    kind, dtype, key, _, length = identity
    if kind != "storage" or type(dtype) is not Global or dtype.name not in _STORAGES:
        raise ValueError("a tensor's storage is of an unknown kind")
    if type(key) is not str or not key.isdigit() or not _natural(length):
        raise ValueError("a tensor's storage has no valid key and length")
    return Storage(key, _STORAGES[dtype.name], length)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, …)."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor is not described as torch.save does it")
    if not all(map(_natural, (offset, *shape, *strides))) or len(shape) != len(strides):
        raise ValueError("a tensor's sizes are not whole numbers")
    if len(shape) > 32:
        raise ValueError(f"a tensor has {len(shape)} axes")
    return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Tensor:
    if type(data) is not Tensor:
        raise ValueError("a parameter is not described as torch.save does it")
    return data


def _set(values: Any = ()) -> set[Any]:
    return set(plain_keys(values))


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _storage_type(*_: Any) -> Any:
    raise ValueError("a storage's type is called")


_CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,
    "builtins.set": _set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **dict.fromkeys(_STORAGES, _storage_type),
}
