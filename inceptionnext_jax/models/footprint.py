"""Memory that a network's training takes, estimated from its forward pass."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from inceptionnext_jax.models.network import with_options

# Results of these are kept for the backward pass.
_KEPT = ("conv_general_dilated", "dot_general", "erf", "mul")


def activation_bytes(model: nn.Module, image_size: int) -> int:
    """Bytes of activations that the backward pass keeps of one image of `image_size` pixels."""
    # Other implementations sum up tap by tap, and nothing of that is kept.
    model = with_options(model, depthwise_impl="conv")
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x))(variables, image)
    return sum(
        math.prod(out.aval.shape) * out.aval.dtype.itemsize
        for equation in jaxpr.eqns
        if equation.primitive.name in _KEPT
        for out in equation.outvars
    )
