"""The training step, compiled ahead of time for each announced shape of batches."""

from collections.abc import Callable, Iterable
from typing import Any

import jax

from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.step import StepScalars
from inceptionnext_jax.types import Batch, PyTree

Signature = tuple[tuple[str, tuple[int, ...], str], ...]


class CompiledStep:
    """A jitted step that compiles nothing after its construction.

    A batch of another shape is an error instead of a slow step.
    """

    def __init__(
        self, jitted: Any, state: TrainState, scalars: StepScalars, batches: Iterable[PyTree]
    ):
        """batches: the shapes, dtypes and shardings of each kind of batch that may come."""
        self._compiled: dict[Signature, Callable[..., Any]] = {}
        for batch in batches:
            key = _signature(batch)
            if key not in self._compiled:
                self._compiled[key] = jitted.lower(state, batch, scalars).compile()

    def __call__(self, state: TrainState, batch: Batch, scalars: StepScalars) -> Any:
        """Raises RunError for a batch whose shape was not announced."""
        compiled = self._compiled.get(_signature(batch))
        if compiled is None:
            known = "; ".join(map(_described, self._compiled))
            raise RunError(
                f"a batch has the shapes {_described(_signature(batch))}, which its transforms did "
                f"not announce; expected {known}"
            )
        return compiled(state, batch, scalars)


def _signature(batch: PyTree) -> Signature:
    return tuple(
        (jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
    )


def _described(signature: Signature) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, shape, dtype in signature)
