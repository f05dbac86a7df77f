"""Classifiers on the mean of the last map, by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.layers.drop import DropNoise, dropout
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import LayerNorm
from inceptionnext_jax.ops.gelu import gelu


class MlpHead(nn.Module):
    """Mean over the map, linear layer to 3 × dim, GELU, norm, dropout, linear layer.

    InceptionNeXt's head: its last stage saves as many parameters with an MLP ratio of 3.

    Attributes:
      num_classes: Number of outputs.
      dropout_rate: Dropout rate in training.
      drop_index: Index of the dropout mask, after those of the blocks.
      init_scale: Factor of the last layer's initial weights.
      dtype: Type of the first product; the rest is at least float32.
    """

    num_classes: int
    dropout_rate: float = 0.0
    drop_index: int = 0
    init_scale: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None = None) -> jax.Array:
        """Maps x: [B, h, w, dim] to logits [B, num_classes]."""
        wide = param_dtype(self.dtype)
        x = x.astype(wide).mean((1, 2))
        x = gelu(dense(3 * x.shape[-1], self.dtype, "fc1")(x))
        x = LayerNorm(dtype=wide, name="norm")(x)
        if noise is not None and self.dropout_rate > 0:
            x = dropout(x, noise, self.drop_index, self.dropout_rate)
        return dense(self.num_classes, wide, "fc2", self.init_scale)(x)


class LinearHead(nn.Module):
    """Mean over the map, norm, dropout, linear layer (ConvNeXt). Attributes as in `MlpHead`."""

    num_classes: int
    dropout_rate: float = 0.0
    drop_index: int = 0
    init_scale: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None = None) -> jax.Array:
        """Maps x: [B, h, w, dim] to logits [B, num_classes]."""
        wide = param_dtype(self.dtype)
        x = LayerNorm(dtype=wide, name="norm")(x.astype(wide).mean((1, 2)))
        if noise is not None and self.dropout_rate > 0:
            x = dropout(x, noise, self.drop_index, self.dropout_rate)
        return dense(self.num_classes, wide, "fc", self.init_scale)(x)


class PlainHead(nn.Module):
    """Mean over the map, dropout, linear layer; optionally a norm of each position first (Swin).

    Attributes as in `MlpHead`; `norm` is None or a factory of norms, given `dtype` and `name`.
    """

    num_classes: int
    dropout_rate: float = 0.0
    drop_index: int = 0
    init_scale: float = 1.0
    norm: Callable[..., nn.Module] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, noise: DropNoise | None = None) -> jax.Array:
        """Maps x: [B, h, w, dim] to logits [B, num_classes]."""
        wide = param_dtype(self.dtype)
        x = x.astype(wide)
        if self.norm is not None:
            x = self.norm(dtype=wide, name="norm")(x)
        x = x.mean((1, 2))
        if noise is not None and self.dropout_rate > 0:
            x = dropout(x, noise, self.drop_index, self.dropout_rate)
        return dense(self.num_classes, wide, "fc", self.init_scale)(x)


HEADS: dict[str, type[nn.Module]] = {"linear": LinearHead, "mlp": MlpHead}


def head_class(name: str) -> type[nn.Module]:
    """Returns the head behind a name; raises UserError if it is unknown."""
    if name not in HEADS:
        raise UserError(
            f"head={name!r} is unknown, expected one of {', '.join(HEADS)}{suggestion(name, HEADS)}"
        )
    return HEADS[name]
