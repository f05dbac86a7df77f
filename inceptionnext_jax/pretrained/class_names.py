"""Class names: those of a model's training data, or ImageNet-1K's."""

import functools
from collections.abc import Sequence
from importlib import resources

_SHOWN = 5  # names that a message lists


@functools.cache
def imagenet_classes() -> dict[str, str]:
    """Returns {WordNet id: words} of ImageNet-1K's 1,000 classes, in the order of its labels."""
    text = resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return {line[:9]: line[10:] for line in text.splitlines()}


def readable(class_names: Sequence[str], num_classes: int) -> list[str]:
    """Returns a name to print for each class.

    Args:
      class_names: The data's names, or none. WordNet ids become words.
      num_classes: Number of names to return; 1,000 classes without names are taken for ImageNet's,
        and other classes without a name are called by their number.
    """
    words = imagenet_classes()
    if not class_names and num_classes == len(words):
        return list(words.values())
    named = [words.get(name, name) for name in class_names[:num_classes]]
    return named + [str(index) for index in range(len(named), num_classes)]


def differing_classes(own: Sequence[str], given: Sequence[str]) -> str | None:
    """A sentence on class names that differ, or None. Unknown names (none) differ from nothing."""
    if not given or list(own) == list(given):
        return None
    what = "in another order" if sorted(own) == sorted(given) else "of another kind"
    return f"classes {what}: {_few(given)} there, {_few(own)} in these data"


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''} ({len(names)})"
