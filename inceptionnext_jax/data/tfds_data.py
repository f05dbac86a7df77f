"""Prepared TFDS data sets, ArrayRecord or TFRecord, read without TensorFlow."""

import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inceptionnext_jax.data.dataset import Dataset, Example
from inceptionnext_jax.data.sizes import known_sizes
from inceptionnext_jax.data.tfrecord import load_or_build_index, read_payload
from inceptionnext_jax.errors import UserError, first_line, suggestion

_NAME = re.compile(r"^[A-Za-z]\w*(/[\w.+-]+)?(:\d+\.\d+\.\d+)?$")
_VERSION = re.compile(r"^\d+\.\d+\.\d+$")


@dataclass(frozen=True)
class Keys:
    """Names of the features in use; file_name may be empty."""

    image: str
    label: str
    file_name: str


@dataclass
class TfdsSource:
    """One split of a prepared data set.

    Only paths and numbers are sent to worker processes; each opens the data on first access.

    shards, records: for TFRecord the shards' paths and [N] structured (shard, offset, length); for
        ArrayRecord () and None, since TFDS's own data source reads it.
    """

    builder_dir: str
    split: str
    length: int
    keys: Keys
    shards: tuple[str, ...] = ()
    records: np.ndarray | None = None
    _opened: Any = field(default=None, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.length:
            raise IndexError(index)
        name = f"{self.builder_dir} {self.split}[{index}]"
        try:
            features = self._read(index)
        except UserError:
            raise
        except Exception as error:  # TFDS and array_record raise all kinds
            raise UserError(
                f"cannot read example {name}{self._location(index)}: {first_line(error)}; fetch or "
                f"prepare the data again"
            ) from error
        if self.keys.file_name:
            name += f" {os.fsdecode(features[self.keys.file_name])}"
        return Example(features[self.keys.image], int(features[self.keys.label]), name)

    def _location(self, index: int) -> str:
        """The example's shard and its byte or record, as " in shard …"; "" if unknown."""
        if self.records is not None:
            shard, offset, _ = self.records[index].tolist()
            return f" in shard {self.shards[shard]} at byte {offset}"
        for instruction in (
            _builder(Path(self.builder_dir)).info.splits[self.split].file_instructions
        ):
            if index < instruction.take:
                return f" in shard {instruction.filename}, record {instruction.skip + index}"
            index -= instruction.take
        return ""

    def _read(self, index: int) -> dict[str, Any]:
        opened = self._open()
        if self.records is None:
            return opened[index]
        shard, offset, length = self.records[index].tolist()
        payload = read_payload(self.shards[shard], offset, length)
        return opened.deserialize_example_np(payload, decoders=_decoders(self.keys))

    def _open(self) -> Any:
        """Returns TFDS's data source (ArrayRecord) or the features that parse a payload."""
        with self._lock:
            if self._opened is None:
                builder = _builder(Path(self.builder_dir))
                if self.records is None:
                    _raise_file_limit()
                    self._opened = builder.as_data_source(
                        split=self.split, decoders=_decoders(self.keys)
                    )
                else:
                    self._opened = builder.info.features
            return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def open_tfds(name: str, data_dir: str | None, *, train_split: str, eval_split: str) -> Dataset:
    """Opens a prepared data set in either of the two formats.

    name: TFDS's name[/config][:version]; without a version, the newest.
    data_dir: TFDS's data_dir, or the version's folder itself.
    A missing split is None if its name is the default and the other split exists; otherwise it is
    an error.
    Raises UserError with the command that prepares the data if they are missing.
    """
    builder = _builder(_find(name, data_dir))
    keys = _keys(builder.info)
    train = _open_split(builder, keys, train_split)
    held_out = _open_split(builder, keys, eval_split)
    if train is None and held_out is None:
        raise UserError(
            f"{builder.data_path} has neither split {train_split!r} nor {eval_split!r}; it has "
            f"{', '.join(builder.info.splits) or 'none'}: set data.train_split and data.eval_split"
        )
    for split, source, default in (
        (train_split, train, "train"),
        (eval_split, held_out, "validation"),
    ):
        if source is None and split != default:
            raise UserError(
                f"{builder.data_path} has no examples in split {split!r}; it has "
                f"{', '.join(builder.info.splits)}"
            )
    names = tuple(builder.info.features[keys.label].names)
    return Dataset(name=name, train=train, eval=held_out, class_names=names)


def data_root(data_dir: str | None) -> Path:
    """Returns the folder of prepared data: `data_dir`, TFDS_DATA_DIR or ~/tensorflow_datasets."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def _find(name: str, data_dir: str | None) -> Path:
    if not _NAME.match(name):
        raise UserError(
            f"data.name={name!r} is neither digits, synthetic or folder nor a TFDS name "
            f"(name, name/config or name:version)"
        )
    root = data_root(data_dir)
    if (root / "dataset_info.json").is_file():
        return root
    base, _, version = name.partition(":")
    folder = root / base
    if version:
        versions = [version]
    elif folder.is_dir():
        versions = [entry.name for entry in folder.iterdir() if _VERSION.match(entry.name)]
    else:
        versions = []
    for candidate in sorted(versions, key=lambda v: tuple(map(int, v.split("."))), reverse=True):
        if (folder / candidate / "dataset_info.json").is_file():
            return folder / candidate
    known = ("digits", "synthetic", "folder")
    hint = "" if known_sizes(base) else suggestion(name, known)
    manual = " --manual-dir DIR_OF_THE_TARS" if base == "imagenet2012" else ""
    raise UserError(
        f"no prepared data set {name!r} in {folder}/{version or '<version>'}{hint}; run: python -m "
        f"inceptionnext_jax prepare {name} --data-dir {root}{manual}"
    )


def _builder(directory: Path) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(str(directory))
    except Exception as error:  # an untrusted file can be wrong in any way
        raise UserError(
            f"{directory} is not a readable TFDS data set: {first_line(error)}"
        ) from error


def _decoders(keys: Keys) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    return {keys.image: tfds.decode.SkipDecoding()}


def _keys(info: Any) -> Keys:
    import tensorflow_datasets as tfds

    def only(kind: type, noun: str) -> str:
        found = [key for key, feature in info.features.items() if type(feature) is kind]
        if len(found) != 1:
            raise UserError(
                f"data set {info.name} has {len(found)} {noun} features; classification needs one"
            )
        return found[0]

    label = only(tfds.features.ClassLabel, "class label")
    if not info.features[label].num_classes:
        raise UserError(f"data set {info.name} does not name its classes")
    file_name = "file_name" if "file_name" in info.features else ""
    return Keys(only(tfds.features.Image, "image"), label, file_name)


def _open_split(builder: Any, keys: Keys, split: str) -> TfdsSource | None:
    base_names = re.findall(r"[^\W\d]\w*", re.sub(r"\[[^\]]*\]", "", split))
    if base_names and not all(base in builder.info.splits for base in base_names):
        return None
    try:
        chosen = builder.info.splits[split]
        instructions = [i for i in chosen.file_instructions if i.take]
    except Exception as error:  # TFDS's parser raises all kinds
        raise UserError(
            f"split {split!r} of {builder.info.name} is not understood ({first_line(error)}); "
            f"it has {', '.join(builder.info.splits)}, with slices such as train[:90%]"
        ) from error
    length = sum(i.take for i in instructions)
    if not length:
        return None
    source = TfdsSource(str(builder.data_path), split, length, keys)
    kind = builder.info.file_format.value
    if kind == "tfrecord":
        source.shards, source.records = _tfrecord_records(builder, instructions)
    elif kind != "array_record":
        raise UserError(
            f"{builder.data_path} is in format {kind}; array_record and tfrecord can be read"
        )
    return source


def _tfrecord_records(builder: Any, instructions: list) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the shards' paths and [N] (shard, offset, length) of the chosen records."""
    wanted = {os.path.basename(i.filename) for i in instructions}
    located: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
    shards: list[str] = []
    for base, split in builder.info.splits.items():
        paths = [Path(path) for path in split.filepaths]
        if not wanted & {path.name for path in paths}:
            continue
        index = load_or_build_index(paths, f"{builder.info.name}-{base}.index.npz")
        _check_counts(paths, index.counts, split.shard_lengths)
        ends = np.cumsum(index.counts)
        for path, end, count in zip(paths, ends, index.counts, strict=True):
            rows = slice(end - count, end)
            located[path.name] = len(shards), index.offsets[rows], index.lengths[rows]
            shards.append(str(path))
    kind = np.dtype([("shard", np.int32), ("offset", np.int64), ("length", np.int64)])
    records = np.empty(sum(i.take for i in instructions), kind)
    at = 0
    for i in instructions:
        number, offsets, lengths = located[os.path.basename(i.filename)]
        part = records[at : at + i.take]
        part["shard"] = number
        part["offset"] = offsets[i.skip : i.skip + i.take]
        part["length"] = lengths[i.skip : i.skip + i.take]
        at += i.take
    return tuple(shards), records


def _check_counts(paths: list[Path], counts: np.ndarray, expected: list[int]) -> None:
    for path, count, wanted in zip(paths, counts.tolist(), expected, strict=True):
        if count != wanted:
            raise UserError(
                f"shard {path} holds {count} records, but dataset_info.json says {wanted}; fetch "
                "or prepare it again"
            )


def _raise_file_limit() -> None:
    """Raises this process's limit on open files: ArrayRecord keeps every shard open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
