"""Data sets with objects by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inceptionnext_jax.data import coco
from inceptionnext_jax.data.catalog import AbsentSource
from inceptionnext_jax.data.digit_instances import open_digit_instances
from inceptionnext_jax.data.instances import InstanceDataset
from inceptionnext_jax.data.synthetic_instances import open_synthetic_instances
from inceptionnext_jax.errors import UserError, suggestion

# Given data.dir, data.train_split and data.eval_split, opens a data set.
Opener = Callable[[str | None, str, str], InstanceDataset]
_REGISTERED: dict[str, Opener] = {}
_NAMES = ("coco", "digit_scenes", "synthetic")


def register_instances(name: str, opener: Opener) -> None:
    """Adds a data set from outside of the package, for data.name=NAME."""
    _REGISTERED[name] = opener


@dataclass(frozen=True)
class AbsentInstances(AbsentSource):
    """A split of which only the number of images is known; each counts as 480 × 640 pixels."""

    @property
    def sizes(self) -> np.ndarray:
        return np.tile(np.array([480, 640], np.int32), (self.length, 1))

    @property
    def annotated(self) -> np.ndarray:
        return np.ones(self.length, bool)

    def ground_truth(self, indices: Iterable[int]) -> dict[str, Any]:
        raise UserError(f"the data of {self.name} are not here")


def known_instances(name: str) -> InstanceDataset | None:
    """COCO with its published sizes, whose examples cannot be read; None for other names."""
    if name != "coco":
        return None
    known = coco.coco_categories()
    return InstanceDataset(
        name=name,
        train=AbsentInstances(name, coco.NUM_TRAIN),
        eval=AbsentInstances(name, coco.NUM_EVAL),
        class_names=known.names,
        category_ids=known.ids,
        has_masks=True,
    )


def open_instances(
    name: str,
    dir: str | None = None,
    *,
    train_split: str = "train2017",
    eval_split: str = "val2017",
    train_json: str | None = None,
    eval_json: str | None = None,
    image_size: int = 480,
    num_classes: int | None = None,
    seed: int = 0,
) -> InstanceDataset:
    """Opens a data set; reads annotations, no images.

    name: coco (any data in its format), digit_scenes, synthetic, or a registered name.
    dir: the folder of coco.
    train_split, eval_split, train_json, eval_json: as in `open_coco`.
    image_size, num_classes, seed: of synthetic images only.
    Raises UserError when the data are not there or are not what they should be.
    """
    if name in _REGISTERED:
        dataset = _REGISTERED[name](dir, train_split, eval_split)
    elif name == "coco":
        dataset = coco.open_coco(
            dir,
            train_split=train_split,
            eval_split=eval_split,
            train_json=train_json,
            eval_json=eval_json,
        )
    elif name == "digit_scenes":
        dataset = open_digit_instances()
    elif name == "synthetic":
        dataset = open_synthetic_instances(
            image_size=image_size, num_classes=num_classes, seed=seed
        )
    else:
        names = (*_NAMES, *_REGISTERED)
        raise UserError(
            f"data.name={name} is unknown to this task, expected one of {', '.join(sorted(names))}"
            f"{suggestion(name, names)}"
        )
    return replace(dataset, name=name)
