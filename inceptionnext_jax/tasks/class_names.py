"""Class names of a task beside those that weights were trained for."""

from collections.abc import Mapping, Sequence
from typing import Any

from inceptionnext_jax.pretrained.class_names import differing_classes
from inceptionnext_jax.train.task import Difference


def class_difference(class_names: Sequence[str], metadata: Mapping[str, Any]) -> Difference | None:
    """Compares a task's class names with those of a checkpoint's metadata."""
    own, given = list(class_names), list(metadata.get("class_names", ()))
    text = differing_classes(own, given)
    if text is None:
        return None
    # As many other names may be the same classes in other words.
    return Difference(text, len(own) != len(given) or sorted(own) == sorted(given))
