"""Pytrees of parameters seen as paths: `stages_0/blocks_1/mlp/fc1/kernel`."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import jax

from inceptionnext_jax.errors import UserError

Value = TypeVar("Value")


def paths_and_leaves(tree: Any) -> list[tuple[str, Any]]:
    """(path, leaf) of all leaves, in the tree's order."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(keys, simple=True, separator="/"), leaf) for keys, leaf in flat]


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The tree of {path: leaf}."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def paths(tree: Any) -> list[str]:
    """Slash-separated paths of all leaves, in the tree's order."""
    return [path for path, _ in paths_and_leaves(tree)]


def is_stacked(path: str) -> bool:
    """Whether a path is that of stacked blocks, whose first axis counts them."""
    return "blocks" in path.split("/")


def plain_paths(tree: Any) -> list[list[str]]:
    """For each leaf its paths in the plain tree: one, or those of the blocks stacked in it."""
    found = []
    for path, leaf in paths_and_leaves(tree):
        depth = leaf.shape[0] if is_stacked(path) else 1
        found.append([re.sub(r"(^|/)blocks/", rf"\1blocks_{i}/", path) for i in range(depth)])
    return found


def by_rules(tree: Any, rules: Sequence[tuple[str, Value]], what: str) -> Any:
    """Gives every leaf the value of the first rule (regex, value) that matches its whole path.

    Raises UserError, naming the leaves, unless each is covered by a rule.
    """
    compiled = [(re.compile(pattern), value) for pattern, value in rules]
    values, uncovered = [], []
    for path in paths(tree):
        found = [value for pattern, value in compiled if pattern.fullmatch(path)]
        values.append(found[0] if found else None)
        if not found:
            uncovered.append(path)
    if uncovered:
        raise UserError(f"no rule of {what} covers {', '.join(uncovered[:5])}; add one")
    return jax.tree.unflatten(jax.tree.structure(tree), values)


def require_match(paths: Sequence[str], pattern: str, key: str) -> None:
    """Raises UserError when a regex finds no path: most likely it is misspelt."""
    if not any(re.search(pattern, path) for path in paths):
        raise UserError(
            f"{key}={pattern!r} matches no parameter; paths look like {', '.join(paths[:3])}"
        )
