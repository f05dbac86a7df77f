"""Data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from inceptionnext_jax.data import digits, synthetic
from inceptionnext_jax.data.dataset import Dataset, Example
from inceptionnext_jax.data.folder import open_folder
from inceptionnext_jax.data.sizes import known_sizes
from inceptionnext_jax.errors import UserError

# Given data.dir, data.train_split and data.eval_split, opens a data set.
Opener = Callable[[str | None, str, str], Dataset]
_REGISTERED: dict[str, Opener] = {}


def register_dataset(name: str, opener: Opener) -> None:
    """Adds a data set from outside of the package, for data.name=NAME."""
    _REGISTERED[name] = opener


def known_dataset(name: str) -> Dataset | None:
    """A well-known data set with its published sizes, whose examples cannot be read; else None."""
    known = known_sizes(name)
    if known is None:
        return None
    num_train, num_eval, num_classes = known
    names = tuple(str(number) for number in range(num_classes))
    return Dataset(name, AbsentSource(name, num_train), AbsentSource(name, num_eval), names)


@dataclass(frozen=True)
class AbsentSource:
    """A split of which only the size is known."""

    name: str
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        raise UserError(f"the data of {self.name} are not here")


def open_dataset(
    name: str,
    dir: str | None = None,
    *,
    train_split: str = "train",
    eval_split: str = "validation",
    image_size: int = 224,
    num_classes: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Opens a data set; reads indices and file names, no images.

    name: digits, synthetic, folder, a registered name, or the name of a prepared TFDS data set
        (imagenet2012, cifar10, imagenet_resized/64x64, ...).
    dir: the folder's path, or TFDS's data_dir (default: TFDS_DATA_DIR or ~/tensorflow_datasets).
    train_split, eval_split: folder names, or TFDS splits such as train[:90%].
    image_size, seed: of synthetic images only.
    num_classes: how many classes synthetic images have; for other data, how many the model has,
        which may be more than the data have but not fewer.
    Raises UserError when the data are not there or are not what they should be.
    """
    if name == "synthetic":
        return synthetic.open_synthetic(image_size=image_size, num_classes=num_classes, seed=seed)
    if name in _REGISTERED:
        dataset = _REGISTERED[name](dir, train_split, eval_split)
    elif name == "digits":
        dataset = digits.open_digits()
    elif name == "folder":
        dataset = open_folder(dir, train_split=train_split, eval_split=eval_split)
    else:
        from inceptionnext_jax.data.tfds_data import open_tfds

        dataset = open_tfds(name, dir, train_split=train_split, eval_split=eval_split)
    if num_classes is not None and num_classes < dataset.num_classes:
        raise UserError(
            f"model.num_classes={num_classes}, but data set {dataset.name} has "
            f"{dataset.num_classes} classes; set model.num_classes={dataset.num_classes} or more"
        )
    return replace(dataset, name=name)
