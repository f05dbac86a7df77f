"""Starting a run from given weights: which of them fit, and what to tell the user."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inceptionnext_jax import trees
from inceptionnext_jax.convert.load import SHOWN, summary
from inceptionnext_jax.errors import UserError

# Where another number of classes is allowed to make a difference.
CLASSIFIER = ("params/head/", "batch_stats/head/")
# The network itself: weights for more of it than the model has mean another architecture.
BODY = ("params/stem", "params/stages_", "batch_stats/stem", "batch_stats/stages_")
WIDTH = 100  # characters of a line


class Match(NamedTuple):
    """What given weights mean for a model.

    Attributes:
      loaded: Arrays by path, in the model's dtypes.
      renewed: The model's other paths with the reason; they stay as initialised.
      unused: Given paths that the model has no place for.
    """

    loaded: dict[str, np.ndarray]
    renewed: dict[str, str]
    unused: list[str]

    def notes(self, where: str) -> list[str]:
        """Every array on some line: loaded ones counted by module, the others by name."""
        total = len(self.loaded) + len(self.renewed)
        modules = Counter("/".join(path.split("/")[:2]) for path in self.loaded)
        counted = [f"{module} ({count})" for module, count in modules.items()]
        renewed = [f"{path} ({why})" for path, why in self.renewed.items()]
        notes = _wrapped(f"init_from={where}: {len(self.loaded)} of {total} arrays loaded", counted)
        notes += _wrapped(f"re-initialised ({len(renewed)})", renewed) if renewed else []
        notes += _wrapped(f"unused ({len(self.unused)})", self.unused) if self.unused else []
        return notes


def match(wanted: Any, given: Any, where: str, hint: str = "") -> Match:
    """Compares the variables of a model, as arrays or shapes, with given arrays; both unstacked.

    Leaves of the classifier head may be missing or of another shape: they are re-initialised.
    What is given beside the network's body may be left over. Any other difference is a UserError
    that names `where` and the paths, and ends in `hint`.
    """
    left = dict(trees.paths_and_leaves(given))
    loaded: dict[str, np.ndarray] = {}
    renewed: dict[str, str] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    for path, leaf in trees.paths_and_leaves(wanted):
        source = left.pop(path, None)
        if source is not None and tuple(source.shape) == tuple(leaf.shape):
            loaded[path] = np.asarray(source).astype(leaf.dtype)
        elif path.startswith(CLASSIFIER):
            found = "missing" if source is None else str(list(source.shape))
            renewed[path] = f"{found}, expected {list(leaf.shape)}"
        elif source is None:
            missing.append(path)
        else:
            misshapen.append(f"{path} is {list(source.shape)}, expected {list(leaf.shape)}")
    surplus = sorted(path for path in left if path.startswith(BODY))
    kinds = {"missing": missing, "too many": surplus, "of another shape": misshapen}
    if any(kinds.values()):
        raise UserError(f"init_from={where} does not fit the model: {summary(kinds)}{hint}")
    return Match(loaded, renewed, sorted(left))


def other_classes(own: Sequence[str], given: Sequence[str]) -> str | None:
    """A sentence on class names that differ, or None. Unknown names (none) differ from nothing."""
    if not given or list(own) == list(given):
        return None
    what = "in another order" if sorted(own) == sorted(given) else "of another kind"
    return f"classes {what}: {_few(given)} there, {_few(own)} in these data"


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''} ({len(names)})"


def _wrapped(head: str, names: Sequence[str]) -> list[str]:
    """Lines of whole names, up to WIDTH characters where a name is not longer."""
    lines = [f"{head}:"]
    for index, name in enumerate(names):
        item = f"{name}," if index < len(names) - 1 else name
        if len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(f"    {item}")
        else:
            lines[-1] += f" {item}"
    return lines
