"""Layer scale: learned factors of channels."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.linear import param_dtype


class LayerScale(nn.Module):
    """Multiplies channels by learned numbers, `gamma` [C], with the initial value `first`."""

    first: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scales x: [..., C]."""
        constant = nn.initializers.constant(self.first)
        gamma = self.param("gamma", constant, (x.shape[-1],), param_dtype(self.dtype))
        return x * gamma.astype(self.dtype)
