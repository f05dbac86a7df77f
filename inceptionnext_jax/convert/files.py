"""Weight files with PyTorch names: .safetensors, .npz, and .pth/.pt/.bin from torch.save.

Nothing in a file is executed, sizes are checked against the file before they are used, and every
fault is one UserError that names the file.
"""

import math
import tokenize
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptionnext_jax.convert.torch_file import ZIP_ERRORS, Tensor, TorchFile, widen_bfloat16
from inceptionnext_jax.errors import UserError, suggestion

Arrays = dict[str, np.ndarray]
# Entries with a checkpoint's weights; averages first, as in timm's --initial-checkpoint.
ENTRIES = ("model_ema", "state_dict_ema", "model", "state_dict")
_WRAPPER = "module."  # prefix of every name in PyTorch's data-parallel wrappers
_DEFLATE_LIMIT = 1100  # a deflated byte expands to 1,032 bytes at most
_NPY_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip


class StateDict(NamedTuple):
    """Arrays by PyTorch name, and the file's entry that held them ("": the file itself)."""

    arrays: Arrays
    entry: str


def read_weights(path: Path, key: str | None = None) -> StateDict:
    """Reads a weight file by its suffix.

    Args:
      path: A .safetensors, .npz, .pth, .pt or .bin file.
      key: The entry of a .pth that holds the weights. None: the file itself if it holds nothing
        but tensors, else the first of `ENTRIES` that does.

    Raises:
      UserError: The file is missing, of another kind, damaged, asks to run code, has no such entry,
        or holds numbers that are not finite.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UserError(
            f"{path} is not a known kind of weight file, expected one of {', '.join(_READERS)}"
        )
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a {path.suffix} file")
    try:
        arrays, entry = reader(path, key)
    except (OSError, MemoryError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    if arrays and all(name.startswith(_WRAPPER) for name in arrays):
        arrays = {name.removeprefix(_WRAPPER): array for name, array in arrays.items()}
    check_finite(arrays, path)
    return StateDict(arrays, entry)


def is_weight_file(path: Path) -> bool:
    """Whether `read_weights` reads files with this suffix."""
    return path.suffix in _READERS


def check_finite(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """Raises UserError, naming `source` and the arrays, where there is NaN or infinity."""
    bad = [
        name
        for name, array in arrays.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if bad:
        raise UserError(
            f"{source} holds NaN or infinity in {', '.join(bad[:3])}"
            f"{f' and {len(bad) - 3} more' if len(bad) > 3 else ''}; take another file or an "
            f"earlier checkpoint"
        )


def _read_safetensors(path: Path, key: str | None) -> StateDict:
    from safetensors import SafetensorError, deserialize

    _refuse_key(path, key)
    try:  # checks the header against the file's length
        found = deserialize(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error})") from error
    arrays = {}
    for name, tensor in found:
        if tensor["dtype"] not in _SAFETENSORS_TYPES:
            raise UserError(f"{path} has {name} of type {tensor['dtype']}, which is not supported")
        values = np.frombuffer(tensor["data"], _SAFETENSORS_TYPES[tensor["dtype"]])
        values = values.reshape(tensor["shape"])
        arrays[name] = widen_bfloat16(values) if tensor["dtype"] == "BF16" else values
    return StateDict(arrays, "")


def _read_npz(path: Path, key: str | None) -> StateDict:
    _refuse_key(path, key)
    try:
        with zipfile.ZipFile(path) as archive:
            total = path.stat().st_size
            return StateDict(
                {
                    entry.filename.removesuffix(".npy"): _read_npy(archive, entry, total)
                    for entry in archive.infolist()
                },
                "",
            )
    except (*ZIP_ERRORS, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise UserError(f"{path} is not a readable npz file ({error})") from error


def _read_npy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, total: int) -> np.ndarray:
    """Reads one array; raises ValueError if its header and its bytes disagree."""
    if entry.compress_size > total or entry.file_size > _DEFLATE_LIMIT * (entry.compress_size + 1):
        raise ValueError(f"{entry.filename} claims {entry.file_size:,} bytes")
    with archive.open(entry) as file:
        read_header = _NPY_HEADERS.get(np.lib.format.read_magic(file))
        if read_header is None:
            raise ValueError(f"{entry.filename} is of an unknown version")
        shape, fortran_order, dtype = read_header(file)
        if dtype.hasobject or dtype.kind not in "fiub":
            raise ValueError(f"{entry.filename} holds {dtype}, expected numbers")
        data = file.read()
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{entry.filename} claims shape {shape} of {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _refuse_key(path: Path, key: str | None) -> None:
    if key is not None:
        raise UserError(f"{path} has no entries to choose from: leave the key {key!r} out")


def _read_torch(path: Path, key: str | None) -> StateDict:
    with TorchFile(path) as file:
        entry, tensors = _choose(path, file.root, key)
        return StateDict({name: file.array(name, t) for name, t in tensors.items()}, entry)


def _choose(path: Path, root: Any, key: str | None) -> tuple[str, dict[str, Tensor]]:
    if type(root) is not dict:
        raise UserError(f"{path} holds one {_kind(root)}, expected a state dict")
    if key is None and _is_state_dict(root):
        return "", root
    for entry in ENTRIES if key is None else (key,):
        if _is_state_dict(root.get(entry)):
            return entry, root[entry]
    names = [str(name)[:40] for name in root][:10]
    if key is not None:
        hint = suggestion(key, names)
        raise UserError(f"{path} has no state dict under {key!r}; it has {', '.join(names)}{hint}")
    raise UserError(
        f"{path} holds no state dict, neither by itself nor under {', '.join(ENTRIES)}; it has "
        f"{', '.join(names) or 'nothing'}"
    )


def _is_state_dict(value: Any) -> bool:
    return (
        type(value) is dict
        and bool(value)
        and all(type(name) is str and type(item) is Tensor for name, item in value.items())
    )


def _kind(value: Any) -> str:
    return "tensor" if type(value) is Tensor else type(value).__name__


_READERS: dict[str, Callable[[Path, str | None], StateDict]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
}
