"""Counts of parameters, multiply-accumulates and activations by tracing: nothing is computed.

Papers count multiply-accumulates in three ways, which differ in the last printed digit:

* those of convolutions and linear layers alone (the default);
* with products of one activation with another, attention's (`attention=True`): every figure that is
  printed for a network with attention has them;
* with norms as fvcore counts them, 2 for an element of BatchNorm in inference and 5 for one of
  LayerNorm (`norms=True`): so InceptionNeXt's B comes to the printed 14.9 G instead of 14.8.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from inceptionnext_jax.models.layers.norm import BatchNorm, LayerNorm

# Of fvcore, for an element of the input.
_NORM_COSTS: dict[type[nn.Module], int] = {BatchNorm: 2, LayerNorm: 5}


def count_params(model: nn.Module, image_size: int = 64) -> int:
    """Returns how many numbers `model` learns; statistics of norms are not parameters.

    Args:
      model: From `create_model`.
      image_size: Pixels; matters only where parameters depend on it.
    """
    _, variables, _ = _traceable(model, image_size)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def count_macs(
    model: nn.Module,
    image_size: int | tuple[int, int],
    attention: bool = False,
    norms: bool = False,
) -> int:
    """Returns the multiply-accumulates of one image's forward pass; biases are left out.

    Args:
      model: From `create_model`.
      image_size: Pixels, or (height, width).
      attention: Count the products of queries, keys and values too.
      norms: Count norms too.
    """
    totals = _totals(model, image_size)
    macs = totals.macs + (totals.products if attention else 0)
    return macs + (_norm_operations(model, image_size) if norms else 0)


def count_activations(model: nn.Module, image_size: int | tuple[int, int]) -> int:
    """Returns how many numbers convolutions, linear layers and attention's products put out.

    It is what fvcore counts and timm prints as "activations". Arguments are those of `count_macs`.
    """
    return _totals(model, image_size).activations


class _Totals(NamedTuple):
    """Of one image.

    Attributes:
      macs: Of convolutions and linear layers.
      products: Multiply-accumulates of one activation with another.
      activations: Elements of the results of all of these.
    """

    macs: int = 0
    products: int = 0
    activations: int = 0

    def plus(self, other: "_Totals", times: int = 1) -> "_Totals":
        return _Totals(*(a + times * b for a, b in zip(self, other, strict=True)))


@functools.lru_cache(maxsize=8)
def _totals(model: nn.Module, image_size: int | tuple[int, int]) -> _Totals:
    model, variables, image = _traceable(model, image_size)
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, image)
    return _of_jaxpr(jaxpr.jaxpr)


@functools.lru_cache(maxsize=8)
def _traceable(
    model: nn.Module, image_size: int | tuple[int, int]
) -> tuple[nn.Module, Any, jax.ShapeDtypeStruct]:
    """Returns the model as it is traced, and the shapes of its variables and of one image."""
    if hasattr(model, "depthwise_impl"):
        # Spelled as convolutions, the products of other implementations are counted alike.
        model = model.clone(depthwise_impl="conv")
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    image = jax.ShapeDtypeStruct((1, H, W, 3), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image), image


def _of_jaxpr(jaxpr: core.Jaxpr) -> _Totals:
    totals = _Totals()
    for equation in jaxpr.eqns:
        totals = totals.plus(_of_equation(equation))
    return totals


def _of_equation(equation: core.JaxprEqn) -> _Totals:
    name = equation.primitive.name
    if name == "conv_general_dilated":
        kernel, results = _shape(equation.invars[1]), math.prod(_shape(equation.outvars[0]))
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return _Totals(macs=results * math.prod(kernel) // outputs, activations=results)
    if name == "dot_general":
        (contracted, _), (batched, _) = equation.params["dimension_numbers"]
        left, results = _shape(equation.invars[0]), math.prod(_shape(equation.outvars[0]))
        macs = results * math.prod(left[i] for i in contracted)
        if batched:  # a linear layer's weights are those of every image
            return _Totals(products=macs, activations=results)
        return _Totals(macs=macs, activations=results)
    totals, times = _Totals(), equation.params["length"] if name == "scan" else 1
    for inner in _inner_jaxprs(equation.params):
        totals = totals.plus(_of_jaxpr(inner), times)
    return totals


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _norm_operations(model: nn.Module, image_size: int | tuple[int, int]) -> int:
    """Sums over the norms' calls, which a trace of operations no longer shows."""
    total = 0

    def add(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        cost = _NORM_COSTS.get(type(context.module), 0)
        if cost and context.method_name == "__call__":
            total += cost * args[0].size
        return call(*args, **kwargs)

    if hasattr(model, "scan"):
        model = model.clone(scan=False, remat=False)  # each block is called for itself
    model, variables, image = _traceable(model, image_size)
    with nn.intercept_methods(add):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    return total
