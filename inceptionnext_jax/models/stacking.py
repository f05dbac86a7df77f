"""Conversion between plain trees (`blocks_0`, `blocks_1`, …) and scanned ones (`blocks`).

Both directions move values without arithmetic, so that they are lossless.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.errors import UserError

_NUMBERED = re.compile(r"blocks_(\d+)")


def stack_blocks(tree: Any) -> Any:
    """Returns `tree` with every `blocks_0 … blocks_{d-1}` merged into one `blocks`.

    Args:
      tree: Nested mappings, tuples or lists of arrays: whole variables, an EMA of them, optimizer
        moments. Parts without blocks are returned unchanged.

    Returns:
      The same with leaves under `blocks` stacked along a new first axis of length d, numpy if all
      of them are numpy, else JAX arrays.

    Raises:
      UserError: Block numbers have gaps, or blocks differ in their leaves.
    """
    return _rebuild(tree, _stack)


def unstack_blocks(tree: Any) -> Any:
    """Inverts `stack_blocks`; a tree without stacked blocks is returned unchanged."""
    return _rebuild(tree, _unstack)


def _rebuild(tree: Any, convert: Any) -> Any:
    if isinstance(tree, Mapping):
        return convert({key: _rebuild(value, convert) for key, value in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a NamedTuple, as in optax
        return type(tree)(*(_rebuild(value, convert) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_rebuild(value, convert) for value in tree)
    return tree


def _stack(node: dict[str, Any]) -> dict[str, Any]:
    found = [match for key in node if (match := _NUMBERED.fullmatch(str(key)))]
    if not found:
        return node
    indices = sorted(int(match[1]) for match in found)
    if indices != list(range(len(indices))):
        raise UserError(f"blocks are numbered {indices}, expected 0 to {len(indices) - 1}")
    blocks = [node[f"blocks_{i}"] for i in indices]
    try:
        stacked = jax.tree.map(_stack_leaves, *blocks)
    except ValueError as error:
        raise UserError(f"blocks cannot be stacked because they differ: {error}") from error
    rest = {key: value for key, value in node.items() if not _NUMBERED.fullmatch(str(key))}
    return {**rest, "blocks": stacked}


def _stack_leaves(*leaves: Any) -> Any:
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return np.stack(leaves)
    return jnp.stack(leaves)


def _unstack(node: dict[str, Any]) -> dict[str, Any]:
    stacked = node.get("blocks")
    if not isinstance(stacked, Mapping):
        return node
    depths = {leaf.shape[0] for leaf in jax.tree.leaves(stacked)}
    if len(depths) != 1:
        raise UserError(f"stacked blocks have lengths {sorted(depths)}, expected all the same")
    blocks = {
        f"blocks_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(depths.pop())
    }
    return {**{key: value for key, value in node.items() if key != "blocks"}, **blocks}
