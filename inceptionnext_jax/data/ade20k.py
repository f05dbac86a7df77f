"""ADE20K's scene parsing benchmark (Zhou et al., 2017): the folder ADEChallengeData2016.

ADEChallengeData2016/images/{training,validation}/*.jpg
ADEChallengeData2016/annotations/{training,validation}/*.png   0: no label, 1 .. 150: classes
"""

import functools
from importlib import resources
from pathlib import Path

from inceptionnext_jax.data.class_list import ClassList, read_class_list
from inceptionnext_jax.data.label_maps import LabelMapDataset, LabelRule
from inceptionnext_jax.data.pairs import PairSource, list_pairs
from inceptionnext_jax.data.paths import find_split
from inceptionnext_jax.errors import UserError

NUM_TRAIN, NUM_EVAL, NUM_CLASSES = 20_210, 2_000, 150
RULE = LabelRule(NUM_CLASSES, reduce_zero_label=True)
_FOLDER = "ADEChallengeData2016"
_SPLITS = {"train": "training", "val": "validation"}  # other names of the two
_FETCH = (
    f"fetch {_FOLDER}.zip (923 MB) from data.csail.mit.edu/places/ADEchallenge/, unpack it, and "
    f"set data.dir to the folder {_FOLDER}"
)


def open_ade20k(directory: str | None, *, train_split: str, eval_split: str) -> LabelMapDataset:
    """Lists the two splits.

    directory: ADEChallengeData2016 or the folder that it is in.
    train_split, eval_split: names of folders; train and val are training and validation.
    Raises UserError, which says what to fetch, when a folder, an image's label map or everything is
    missing.
    """
    if not directory:
        raise UserError(f"data.name=ade20k needs data.dir; {_FETCH}")
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise UserError(f"data.dir={directory} is not a folder; {_FETCH}")
    if (root / _FOLDER).is_dir():
        root = root / _FOLDER
    return LabelMapDataset(
        name="ade20k",
        train=_split(root, train_split),
        eval=_split(root, eval_split),
        class_names=classes().names,
        rule=RULE,
        palette=classes().colors or (),
    )


def _split(root: Path, name: str) -> PairSource:
    name = _SPLITS.get(name, name)
    images = find_split(root / "images", (name,))
    if images is None:
        raise UserError(f"{root} has no folder images/{name}; {_FETCH}")
    return list_pairs(images, root / "annotations" / name, (".jpg",), _FETCH)


@functools.cache
def classes() -> ClassList:
    """The 150 classes with mmsegmentation's short names and colours, in the order of the ids."""
    with resources.as_file(resources.files(__package__) / "ade20k_classes.txt") as path:
        return read_class_list(path)
