"""Sizes of well-known data sets, as published, to plan a run before the data are there."""

from inceptionnext_jax.data import digits, synthetic

_KNOWN_SIZES = {  # examples for training, examples for evaluation, classes
    "digits": (digits.NUM_TRAIN, digits.NUM_EVAL, digits.NUM_CLASSES),
    "synthetic": (synthetic.NUM_TRAIN, synthetic.NUM_EVAL, synthetic.NUM_CLASSES),
    "imagenet2012": (1_281_167, 50_000, 1000),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
}


def known_sizes(name: str) -> tuple[int, int, int] | None:
    """Returns (num_train, num_eval, num_classes) of a well-known data set, else None."""
    return _KNOWN_SIZES.get(name)
