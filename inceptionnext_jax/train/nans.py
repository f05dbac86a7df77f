"""The origin of a NaN or an infinity: `debug_nans` reports it in one sentence.

JAX's own jax_debug_nans checks what leaves a compiled function and found nothing in the training
step, so the step is evaluated here one operation at a time.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.step import StepScalars

_PACKAGE = Path(__file__).parent.parent
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters of operations made of others


def naming_the_operation(jitted: Callable[..., Any], plain: Callable[..., Any]) -> Callable:
    """A training step that raises RunError, naming the first operation with a non-finite result.

    jitted: the step, which must not donate its arguments. plain: the same, not compiled.
    """

    def step(state: Any, batch: Any, scalars: StepScalars) -> Any:
        new, metrics = jitted(state, batch, scalars)
        if not metrics["last"]["finite"]:
            where = first_non_finite(plain, state, batch, scalars)
            raise RunError(
                f"not finite in step {int(new.step)} (lr {float(scalars.lr):g}): "
                f"{where or 'no single operation; rounding errors add up'}"
            )
        return new, metrics

    return step


def first_non_finite(function: Callable[..., Any], *args: Any) -> str | None:
    """The first operation of `function` that turns finite numbers into NaN or infinity; or None."""
    closed = jax.make_jaxpr(function)(*args)
    return _search(closed.jaxpr, closed.consts, jax.tree.leaves(args))


def _search(jaxpr: Any, consts: Any, args: Any) -> str | None:
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for equation in jaxpr.eqns:
        inputs = [v.val if hasattr(v, "val") else known[v] for v in equation.invars]
        bound = equation.primitive.get_bind_params(equation.params)
        functions, params = bound if isinstance(bound, tuple) else ((), bound)  # by JAX's version
        outputs = equation.primitive.bind(*functions, *inputs, **params)
        if not equation.primitive.multiple_results:
            outputs = [outputs]
        if all(map(_finite, inputs)) and not all(map(_finite, outputs)):
            inner = next((equation.params[k] for k in _INNER if k in equation.params), None)
            found = None
            if inner is not None and len(inner.jaxpr.invars) == len(inputs):
                found = _search(inner.jaxpr, inner.consts, inputs)
            return found or f"{equation.primitive.name}{_source_line(equation)}"
        known.update(zip(equation.outvars, outputs, strict=True))
    return None


def _finite(value: Any) -> bool:
    floats = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.inexact)
    return bool(jnp.isfinite(value).all()) if floats else True


def _source_line(equation: Any) -> str:
    trace = equation.source_info.traceback
    frames = traceback.extract_tb(trace.as_python_traceback()) if trace else []
    own = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    return f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
