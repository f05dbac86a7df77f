"""A folder of images and label maps.

DIR/classes.txt                 one class a line (see `class_list`)
DIR/images/{train,val}/**.jpg   images, in any depth of folders
DIR/labels/{train,val}/**.png   label maps of the same names, as PNG
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inceptionnext_jax.data.class_list import ClassList, read_class_list
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.label_maps import LabelMapDataset, LabelRule, voc_palette
from inceptionnext_jax.data.paths import (
    EVAL_FOLDERS,
    IMAGE_SUFFIXES,
    PathList,
    find_split,
    path_list,
    read_bytes,
)
from inceptionnext_jax.errors import UserError

LABEL_FOLDERS = ("labels", "annotations", "masks")
_LAYOUT = (
    "expected DIR/classes.txt, DIR/images/{train,val}/NAME.jpg and DIR/labels/{train,val}/NAME.png"
)


@dataclass(frozen=True)
class PairSource:
    """Image files of one split and their label maps, read on access.

    label_root: the folder with the label maps, each at its image's path with the suffix .png.
    """

    images: PathList
    label_root: str

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        path = self.images[index]
        image_path = os.path.join(self.images.root, path)
        label_path = os.path.join(self.label_root, _label_name(path))
        label = read_bytes(label_path, "label map")
        return Example(read_bytes(image_path), label, image_path)


def open_pairs(
    directory: str | None,
    *,
    train_split: str,
    eval_split: str,
    ignore_index: int | None,
    reduce_zero_label: bool,
) -> LabelMapDataset:
    """Lists a folder of pairs and reads its class list.

    The training split is <train_split>; the evaluation split is <eval_split> or else the first of
    val, validation, test that exists. Either may be missing, but not both. The folder of label
    maps may be called labels, annotations or masks.
    ignore_index, reduce_zero_label: as in `LabelRule`.
    Raises UserError for a missing folder or class list, and for images without label maps.
    """
    if not directory:
        raise UserError(f"data.name=pairs needs data.dir; {_LAYOUT}")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data.dir={directory} is not a folder; {_LAYOUT}")
    classes = _read_classes(root / "classes.txt")
    images, labels = root / "images", _label_folder(root)
    if not images.is_dir():
        raise UserError(f"{root} has no folder 'images'; {_LAYOUT}")
    train_root = find_split(images, (train_split,))
    eval_root = find_split(images, (eval_split, *EVAL_FOLDERS))
    if train_root is None and eval_root is None:
        raise UserError(
            f"{images} has neither a folder {train_split!r} nor one of {eval_split!r}, "
            f"{', '.join(map(repr, EVAL_FOLDERS))}; {_LAYOUT}"
        )
    train, evaluation = (
        None if split is None else list_pairs(split, labels / split.name, IMAGE_SUFFIXES, _LAYOUT)
        for split in (train_root, eval_root)
    )
    if classes.ids is not None and reduce_zero_label:
        raise UserError(
            f"{root / 'classes.txt'} gives each class its id, so data.reduce_zero_label has no "
            f"meaning; set it to False"
        )
    if classes.ids is not None and ignore_index in classes.ids:
        ignore_index = None  # the list is about these label maps; the index may be the default
    count = len(classes.names)
    return LabelMapDataset(
        name="pairs",
        train=train,
        eval=evaluation,
        class_names=classes.names,
        rule=LabelRule(
            count,
            ignore_index,
            reduce_zero_label,
            classes.colors,
            classes.ignored_colors,
            classes.ids,
            classes.ignored_ids,
        ),
        palette=classes.colors or voc_palette(count),
    )


def _read_classes(path: Path) -> ClassList:
    if not path.is_file():
        raise UserError(
            f"{path} is missing; write the name of one class a line, in the order of the ids in "
            f"the label maps"
        )
    classes = read_class_list(path)
    seen: dict[tuple[int, int, int], str] = {}
    names = (*classes.names, *["-"] * len(classes.ignored_colors))
    colors = (*(classes.colors or ()), *classes.ignored_colors)
    for name, color in zip(names, colors, strict=False):
        if color in seen:
            raise UserError(f"{path} gives {seen[color]!r} and {name!r} the same colour {color}")
        seen[color] = name
    return classes


def _label_folder(root: Path) -> Path:
    found = [name for name in LABEL_FOLDERS if (root / name).is_dir()]
    if not found:
        raise UserError(f"{root} has no folder {' or '.join(map(repr, LABEL_FOLDERS))}; {_LAYOUT}")
    if len(found) > 1:
        raise UserError(
            f"{root} has the folders {' and '.join(map(repr, found))}, which may all hold label "
            f"maps; keep one of them"
        )
    return root / found[0]


def list_pairs(
    image_root: Path, label_root: Path, suffixes: Sequence[str], remedy: str
) -> PairSource:
    """Lists the images below `image_root`, sorted by path, and finds their label maps.

    Label maps without image are left out, and so are hidden files; linked folders are not entered.
    suffixes: of images, in any case.
    remedy: ends each message.
    Raises UserError when there are no images, when one has no label map, or when two would share
    one.
    """
    images = _files(image_root, tuple(suffixes))
    if not images:
        raise UserError(f"{image_root} holds no images ({', '.join(suffixes)}); {remedy}")
    if not label_root.is_dir():
        raise UserError(f"{image_root} has no folder of label maps {label_root}; {remedy}")
    labels = set(_files(label_root, (".png",)))
    missing = [path for path in images if _label_name(path) not in labels]
    if missing:
        raise UserError(
            f"image {image_root / missing[0]} ({len(missing):,} of {len(images):,} such) has no "
            f"label map {label_root / _label_name(missing[0])}; {remedy}"
        )
    owners: dict[str, str] = {}
    for path in images:
        other = owners.setdefault(_label_name(path), path)
        if other != path:
            raise UserError(
                f"images {other} and {path} in {image_root} have the same label map; rename or "
                f"remove one of them"
            )
    return PairSource(path_list(image_root, images), str(label_root))


def _label_name(image: str) -> str:
    return f"{os.path.splitext(image)[0]}.png"


def _files(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Sorted paths below `root` of the files with one of these suffixes."""
    found = []
    for folder, folders, files in os.walk(root, onerror=_raise_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(folder, root)
        for name in files:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                found.append(name if below == "." else os.path.join(below, name))
    return sorted(found)


def _raise_unreadable(error: OSError) -> None:
    raise UserError(f"cannot list {error.filename}: {error.strerror}") from error
