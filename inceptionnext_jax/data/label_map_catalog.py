"""Data sets with label maps by name."""

from collections.abc import Callable
from dataclasses import replace

from inceptionnext_jax.data import ade20k, digit_scenes
from inceptionnext_jax.data.catalog import AbsentSource
from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.data.pairs import open_pairs
from inceptionnext_jax.data.synthetic_label_maps import open_synthetic_label_maps
from inceptionnext_jax.errors import UserError, suggestion

# Given data.dir, data.train_split and data.eval_split, opens a data set.
Opener = Callable[[str | None, str, str], LabelMapDataset]
_REGISTERED: dict[str, Opener] = {}
_NAMES = ("ade20k", "digit_scenes", "pairs", "synthetic")


def register_label_maps(name: str, opener: Opener) -> None:
    """Adds a data set from outside of the package, for data.name=NAME."""
    _REGISTERED[name] = opener


def known_label_maps(name: str) -> LabelMapDataset | None:
    """ADE20K with its published sizes, whose examples cannot be read; None for other names."""
    if name != "ade20k":
        return None
    return LabelMapDataset(
        name=name,
        train=AbsentSource(name, ade20k.NUM_TRAIN),
        eval=AbsentSource(name, ade20k.NUM_EVAL),
        class_names=ade20k.classes().names,
        rule=ade20k.RULE,
        palette=ade20k.classes().colors or (),
    )


def open_label_maps(
    name: str,
    dir: str | None = None,
    *,
    train_split: str = "train",
    eval_split: str = "val",
    ignore_index: int | None = 255,
    reduce_zero_label: bool = False,
    image_size: int = 512,
    num_classes: int | None = None,
    seed: int = 0,
) -> LabelMapDataset:
    """Opens a data set; reads class lists and file names, no images.

    name: ade20k, digit_scenes, pairs, synthetic, or a registered name.
    dir: the folder of ade20k or pairs.
    train_split, eval_split: folder names.
    ignore_index, reduce_zero_label: as in `LabelRule`; of pairs only, other data have their own.
    image_size, num_classes, seed: of synthetic images only.
    Raises UserError when the data are not there or are not what they should be.
    """
    if name in _REGISTERED:
        dataset = _REGISTERED[name](dir, train_split, eval_split)
    elif name == "ade20k":
        dataset = ade20k.open_ade20k(dir, train_split=train_split, eval_split=eval_split)
    elif name == "digit_scenes":
        dataset = digit_scenes.open_digit_scenes()
    elif name == "pairs":
        dataset = open_pairs(
            dir,
            train_split=train_split,
            eval_split=eval_split,
            ignore_index=ignore_index,
            reduce_zero_label=reduce_zero_label,
        )
    elif name == "synthetic":
        dataset = open_synthetic_label_maps(
            image_size=image_size, num_classes=num_classes, seed=seed
        )
    else:
        names = (*_NAMES, *_REGISTERED)
        raise UserError(
            f"data.name={name} is unknown to this task, expected one of {', '.join(sorted(names))}"
            f"{suggestion(name, names)}"
        )
    return replace(dataset, name=name)
