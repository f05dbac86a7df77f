"""Pytrees of parameters seen as paths: `stages_0/blocks_1/mlp/fc1/kernel`."""

from typing import Any

import jax


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
