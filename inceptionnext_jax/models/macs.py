"""Counts of parameters and of multiply-accumulates, by tracing alone: nothing is computed.

Multiply-accumulates are those of convolutions and linear layers for one image; biases, norms and
activations are left out (the papers' convention but for a rounding of the last digit). Products of
one activation with another, attention's, are counted if asked for: the papers' figures have them.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend import core


def count_params(model: nn.Module, image_size: int = 64) -> int:
    """Returns how many numbers `model` learns; statistics of norms are not parameters.

    Args:
      model: From `create_model`.
      image_size: Pixels; matters only where parameters depend on it.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_shapes(model, image_size)[0]))


def count_macs(model: nn.Module, image_size: int | tuple[int, int], attention: bool = False) -> int:
    """Returns the multiply-accumulates of one image's forward pass.

    Args:
      model: From `create_model`.
      image_size: Pixels, or (height, width).
      attention: Count the products of queries, keys and values too.
    """
    if hasattr(model, "depthwise_impl"):
        # Spelled as convolutions, the products of other implementations are counted alike.
        model = model.clone(depthwise_impl="conv")
    _, variables, image = _shapes(model, image_size)
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, image)
    return _macs(jaxpr.jaxpr, attention)


def _shapes(model: nn.Module, image_size: int | tuple[int, int]) -> tuple[Any, Any, Any]:
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    image = jax.ShapeDtypeStruct((1, H, W, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return variables["params"], variables, image


def _macs(jaxpr: core.Jaxpr, attention: bool) -> int:
    return sum(_equation_macs(equation, attention) for equation in jaxpr.eqns)


def _equation_macs(equation: core.JaxprEqn, attention: bool) -> int:
    name = equation.primitive.name
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // outputs
    if name == "dot_general":
        (contracted, _), (batched, _) = equation.params["dimension_numbers"]
        if batched and not attention:  # a linear layer's weights are those of every image
            return 0
        left = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)
    times = equation.params["length"] if name == "scan" else 1
    return times * sum(_macs(inner, attention) for inner in _inner_jaxprs(equation.params))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
