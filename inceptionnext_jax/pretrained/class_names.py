"""Names of classes: those that a model was trained with, or ImageNet-1K's."""

import functools
from collections.abc import Sequence
from importlib import resources


@functools.cache
def imagenet_classes() -> dict[str, str]:
    """{WordNet id: words} of the 1,000 classes of ImageNet-1K, in the order of its labels."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return {line[:9]: line[10:] for line in text.splitlines()}


def readable(class_names: Sequence[str], num_classes: int) -> list[str]:
    """A name to print for each class.

    Args:
      class_names: As the data gave them, or none. WordNet ids become words.
      num_classes: How many to return; 1,000 without names are taken for ImageNet's, and what has
        no name is its number.
    """
    words = imagenet_classes()
    if not class_names and num_classes == len(words):
        return list(words.values())
    named = [words.get(name, name) for name in class_names[:num_classes]]
    return named + [str(index) for index in range(len(named), num_classes)]
