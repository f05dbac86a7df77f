"""A folder of image files: DIR/{train,val}/<class>/*.JPEG, or DIR/{train,val}.csv."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inceptionnext_jax.data.dataset import Dataset, Example
from inceptionnext_jax.data.multilabel import MultiLabelSource, Row, multi_hot, read_rows
from inceptionnext_jax.data.paths import (
    EVAL_FOLDERS,
    IMAGE_SUFFIXES,
    PathList,
    find_split,
    path_list,
    read_bytes,
)
from inceptionnext_jax.errors import UserError, suggestion

_LAYOUT = "expected DIR/train/<class>/*.JPEG and, to evaluate, DIR/val/<class>/*.JPEG"


@dataclass(frozen=True)
class FolderSource:
    """Image files of one split, read on access.

    labels: [N] int32.
    """

    files: PathList
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        path = os.path.join(self.files.root, self.files[index])
        return Example(read_bytes(path), int(self.labels[index]), path)


def open_folder(directory: str | None, *, train_split: str, eval_split: str) -> Dataset:
    """Lists DIR/{train,val}/<class>/; classes are the sorted folder names of the training split.

    If there are CSV files of those names instead, each image has any number of labels and the
    classes are the sorted labels of the training split; see `multilabel`.

    The training split is DIR/<train_split>; the evaluation split is DIR/<eval_split> or else the
    first of val, validation, test that exists. Either may be missing, but not both.
    Raises UserError for a missing folder, a class without images, or an evaluation class that
    training does not have.
    """
    if not directory:
        raise UserError(f"data.name=folder needs data.dir; {_LAYOUT}")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data.dir={directory} is not a folder; {_LAYOUT}")
    tables = [
        find_split(root, names, ".csv") for names in ((train_split,), (eval_split, *EVAL_FOLDERS))
    ]
    if any(tables):
        return _open_tables(root, *tables)
    train_root = find_split(root, (train_split,))
    eval_root = find_split(root, (eval_split, *EVAL_FOLDERS))
    class_root = train_root or eval_root
    if class_root is None:
        raise UserError(
            f"{root} has neither a folder {train_split!r} nor one of {eval_split!r}, "
            f"{', '.join(map(repr, EVAL_FOLDERS))}; {_LAYOUT}"
        )
    class_names = _class_names(class_root)
    return Dataset(
        name="folder",
        train=None if train_root is None else _list_split(train_root, class_names),
        eval=None if eval_root is None else _list_split(eval_root, class_names),
        class_names=class_names,
    )


def _open_tables(root: Path, train: Path | None, evaluation: Path | None) -> Dataset:
    """A multi-label data set from the CSV files that exist."""
    rows = {path: read_rows(path, root) for path in (train, evaluation) if path}
    labels = set().union(*(row.labels for row in next(iter(rows.values()))))
    class_names = tuple(sorted(labels))
    sources = {
        path: MultiLabelSource(_files(root, found), multi_hot(found, class_names, path))
        for path, found in rows.items()
    }
    return Dataset(
        name="folder",
        train=sources[train] if train else None,
        eval=sources[evaluation] if evaluation else None,
        class_names=class_names,
        multi_label=True,
    )


def _files(root: Path, rows: list[Row]) -> FolderSource:
    return FolderSource(path_list(root, (row.file for row in rows)), np.zeros(len(rows), np.int32))


def _class_names(split_root: Path) -> tuple[str, ...]:
    with os.scandir(split_root) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise UserError(f"{split_root} holds no class folders; {_LAYOUT}")
    return tuple(names)


def _list_split(split_root: Path, class_names: tuple[str, ...]) -> FolderSource:
    found = _class_names(split_root)
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        raise UserError(
            f"{split_root} has class {unknown[0]!r} ({len(unknown)} such), which the training "
            f"folder does not have{suggestion(unknown[0], class_names)}"
        )
    paths, labels = [], []
    for name in found:
        with os.scandir(split_root / name) as entries:
            files = sorted(
                e.name
                for e in entries
                if e.name.lower().endswith(IMAGE_SUFFIXES)
                and not e.name.startswith(".")
                and e.is_file()
            )
        if not files:
            raise UserError(
                f"class folder {split_root / name} holds no images "
                f"({', '.join(IMAGE_SUFFIXES)}); add some or remove it"
            )
        paths += [os.path.join(name, file) for file in files]
        labels += [class_names.index(name)] * len(files)
    return FolderSource(path_list(split_root, paths), np.array(labels, np.int32))
