"""Counts of parameters, multiply-accumulates and activations by tracing: nothing is computed.

Papers count multiply-accumulates in four ways, which differ in the last printed digit:

* those of convolutions and linear layers alone (the default);
* with attention's products of one activation with another (`attention=True`): every figure printed
  for a network with attention includes them;
* with an operation for each number to which a bias is added (`biases=True`): every figure printed
  for a system of segmentation with InceptionNeXt;
* with norms as fvcore counts them, 2 for an element of BatchNorm in inference and 5 for one of
  LayerNorm (`norms=True`): so InceptionNeXt's B has the printed 14.9 G instead of 14.8.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core

from inceptionnext_jax.models.layers.enlarged_conv import LevelsConv
from inceptionnext_jax.models.layers.norm import BatchNorm, LayerNorm
from inceptionnext_jax.models.network import with_options

# Operations per element of the input, as in fvcore.
_NORM_COSTS: dict[type[nn.Module], int] = {BatchNorm: 2, LayerNorm: 5}
# Functions of models.layers and ops whose weights are not learned: nobody counts their products.
_FREE = ("adaptive_average_pool", "resize_bilinear", "roi_align")
# A function of models.layers that computes a convolution in fewer steps; all count its plain form.
_CONV_OF_ENLARGED = "conv_of_enlarged"


def count_params(model: nn.Module, image_size: int = 64) -> int:
    """Returns the number of learned parameters, without the statistics of norms.

    Args:
      model: A model from `create_model`.
      image_size: Pixels; matters only where parameters depend on it.
    """
    _, variables, _ = _traceable(model, image_size)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def count_macs(
    model: nn.Module,
    image_size: int | tuple[int, int],
    attention: bool = False,
    norms: bool = False,
    biases: bool = False,
) -> int:
    """Returns the multiply-accumulates of one image's forward pass.

    Args:
      model: A model from `create_model`.
      image_size: Pixels, or (height, width).
      attention: Whether to count the products of queries, keys and values.
      norms: Whether to count norms.
      biases: Whether to count an operation for each number that a convolution or a linear layer
        with bias puts out; for networks without attention.
    """
    totals = _totals(model, image_size)
    macs = totals.macs + (totals.products if attention else 0)
    macs += _operations(model, image_size, _norm_cost) if norms else 0
    if biases:
        macs += totals.activations - _operations(model, image_size, _without_bias)
    return macs


def count_activations(model: nn.Module, image_size: int | tuple[int, int]) -> int:
    """Returns the number of outputs of convolutions, linear layers and attention's products.

    fvcore and timm call them "activations". Arguments are those of `count_macs`.
    """
    return _totals(model, image_size).activations


class _Totals(NamedTuple):
    """Counts for one image.

    Attributes:
      macs: Multiply-accumulates of convolutions and linear layers.
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
    return _jaxpr_totals(jaxpr.jaxpr)


@functools.lru_cache(maxsize=8)
def _traceable(
    model: nn.Module, image_size: int | tuple[int, int]
) -> tuple[nn.Module, Any, jax.ShapeDtypeStruct]:
    """Returns the model to trace, and the shapes of its variables and of one image."""
    # Implementations without convolutions would be counted differently.
    model = with_options(model, depthwise_impl="conv")
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    image = jax.ShapeDtypeStruct((1, H, W, 3), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image), image


def _jaxpr_totals(jaxpr: core.Jaxpr) -> _Totals:
    totals = _Totals()
    for equation in jaxpr.eqns:
        totals = totals.plus(_equation_totals(equation))
    return totals


def _equation_totals(equation: core.JaxprEqn) -> _Totals:
    name = equation.primitive.name
    if equation.params.get("name") in _FREE:
        return _Totals()
    if equation.params.get("name") == _CONV_OF_ENLARGED:
        kernel, results = _shape(equation.invars[-1]), math.prod(_shape(equation.outvars[0]))
        return _Totals(macs=results * math.prod(kernel[:-1]), activations=results)
    if name == "conv_general_dilated":
        kernel, results = _shape(equation.invars[1]), math.prod(_shape(equation.outvars[0]))
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return _Totals(macs=results * math.prod(kernel) // outputs, activations=results)
    if name == "dot_general":
        (contracted, _), (batched, _) = equation.params["dimension_numbers"]
        left, results = _shape(equation.invars[0]), math.prod(_shape(equation.outvars[0]))
        macs = results * math.prod(left[i] for i in contracted)
        if batched:  # the weights of a linear layer have no batch axis
            return _Totals(products=macs, activations=results)
        return _Totals(macs=macs, activations=results)
    totals, times = _Totals(), equation.params["length"] if name == "scan" else 1
    for inner in _inner_jaxprs(equation.params):
        totals = totals.plus(_jaxpr_totals(inner), times)
    return totals


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _norm_cost(module: nn.Module, result: Any) -> int:
    cost = _NORM_COSTS.get(type(module), 0)
    return cost * result.size if cost else 0


def _without_bias(module: nn.Module, result: Any) -> int:
    is_linear = isinstance(module, nn.Conv | nn.Dense | LevelsConv)
    return result.size if is_linear and not module.use_bias else 0


def _operations(
    model: nn.Module,
    image_size: int | tuple[int, int],
    cost: Callable[[nn.Module, Any], int],
) -> int:
    """Sums costs over the calls of modules, which a trace of operations does not show."""
    total = 0

    def add(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        result = call(*args, **kwargs)
        if context.method_name == "__call__":
            total += cost(context.module, result)
        return result

    model = with_options(model, scan=False, remat=False)  # so that each block is called
    model, variables, image = _traceable(model, image_size)
    with nn.intercept_methods(add):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    return total
