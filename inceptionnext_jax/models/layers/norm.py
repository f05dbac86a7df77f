"""Batch and layer normalisation with PyTorch's constants, by name.

Batch statistics are taken over groups of images. InceptionNeXt's networks were trained with those
of 128 images, the share of one GPU in one accumulation step of a batch of 4,096. Groups make that
number a property of the model, not of the machine; and as they are a plain reshape of the batch
axis, no device waits for another.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.groups import group_size, nearest_multiples


class BatchNorm(nn.Module):
    """Normalises channels over groups of images (training) or by running statistics.

    Parameters `scale`, `bias` [C]; `batch_stats` `mean`, `var` [C]; all at least float32.
    The running variance is unbiased, as in PyTorch, where Flax's own layer keeps the biased one.

    Attributes:
      group_size: Images per group; 0, or more than the batch, means the whole batch.
      momentum: Weight of the old running value.
      epsilon: Added to the variance.
      scale_init: Initial value of `scale`; 0 makes a residual block begin as the identity.
      dtype: Type of the result.
    """

    group_size: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, valid: jax.Array | None = None
    ) -> jax.Array:
        """Normalises x: [N, H, W, C]; returns the same shape in `dtype`.

        Args:
          x: The rows.
          train: Whether to use the statistics of the rows.
          valid: [N] bool, the rows that these are taken of; None is all.

        Raises:
          UserError: In training, N is not a multiple of the group.
        """
        N, H, W, C = x.shape
        wide = jnp.promote_types(jnp.float32, self.dtype)
        first = nn.initializers.constant(self.scale_init)
        scale = self.param("scale", first, (C,), wide)
        bias = self.param("bias", nn.initializers.zeros, (C,), wide)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (C,), wide)
        running_var = self.variable("batch_stats", "var", jnp.ones, (C,), wide)
        if not train:
            mean, var = running_mean.value, running_var.value
            return self._normalise(x.astype(wide), mean, var, scale, bias)

        n = group_length(N, self.group_size)
        groups = x.astype(wide).reshape(N // n, n, H, W, C)
        mean, var, correction = _statistics(groups, valid)
        if not self.is_initializing():
            self._move(running_mean, mean)
            self._move(running_var, var * correction)
        return self._normalise(groups, mean, var, scale, bias).reshape(x.shape)

    def _normalise(self, x, mean, var, scale, bias) -> jax.Array:
        y = (x - mean) * (scale * lax.rsqrt(var + self.epsilon)) + bias
        return y.astype(self.dtype)

    def _move(self, running: nn.Variable, per_group: jax.Array) -> None:
        new = per_group.mean((0, 1, 2, 3))
        running.value = self.momentum * running.value + (1 - self.momentum) * new


def _statistics(
    groups: jax.Array, valid: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array | float]:
    """Returns the mean and the variance of groups [G, n, H, W, C], and the variance's correction.

    valid: [G · n] bool, the rows that count; None is all.
    """
    # Two passes: E[x²] - E[x]² cancels when the mean is large.
    axes = (1, 2, 3)
    if valid is None:
        count = math.prod(groups.shape[1:4])
        mean = groups.mean(axes, keepdims=True)
        var = jnp.square(groups - mean).mean(axes, keepdims=True)
        return mean, var, count / max(count - 1, 1)
    rows = valid.reshape(*groups.shape[:2], 1, 1, 1)
    counts = rows.sum(1, keepdims=True).astype(groups.dtype) * math.prod(groups.shape[2:4])
    counts = jnp.maximum(counts, 1)
    mean = groups.sum(axes, keepdims=True, where=rows) / counts
    var = jnp.square(groups - mean).sum(axes, keepdims=True, where=rows) / counts
    return mean, var, counts / jnp.maximum(counts - 1, 1)


class LayerNorm(nn.Module):
    """Normalises the channels of each position by their own mean and variance.

    Parameters `scale`, `bias` [C], at least float32.

    Attributes:
      epsilon: Added to the variance; ConvNeXt's value, not PyTorch's default.
      affine: Whether there are `scale` and `bias`.
      axes: Axes of mean and variance.
      dtype: Type of the result.
    """

    epsilon: float = 1e-6
    affine: bool = True
    axes: tuple[int, ...] = (-1,)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalises x: [..., C], in training or not; returns the same shape in `dtype`."""
        C = x.shape[-1]
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = x.astype(wide)
        centred = x - x.mean(self.axes, keepdims=True)
        var = jnp.square(centred).mean(self.axes, keepdims=True)
        x = centred * lax.rsqrt(var + self.epsilon)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (C,), wide)
            x = x * scale + self.param("bias", nn.initializers.zeros, (C,), wide)
        return x.astype(self.dtype)


class GroupNorm(nn.Module):
    """Normalises groups of neighbouring channels of an image over all its positions.

    Parameters `scale`, `bias` [C], at least float32.

    Attributes:
      groups: Number of groups.
      epsilon: Added to the variance.
      dtype: Type of the result.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalises x: [B, H, W, C], in training or not; returns the same shape in `dtype`."""
        B, H, W, C = x.shape
        wide = jnp.promote_types(jnp.float32, self.dtype)
        groups = x.astype(wide).reshape(B, H, W, self.groups, C // self.groups)
        centred = groups - groups.mean((1, 2, 4), keepdims=True)
        var = jnp.square(centred).mean((1, 2, 4), keepdims=True)
        x = (centred * lax.rsqrt(var + self.epsilon)).reshape(B, H, W, C)
        scale = self.param("scale", nn.initializers.ones, (C,), wide)
        bias = self.param("bias", nn.initializers.zeros, (C,), wide)
        return (x * scale + bias).astype(self.dtype)


class NoNorm(nn.Module):
    """The identity, in place of a norm that is folded into adjacent weights."""

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns x."""
        return x


NORMS = ("batch", "layer")


def make_norm(
    kind: str,
    group_size: int = 0,
    dtype: DTypeLike = jnp.float32,
    folded: bool = False,
    name: str | None = None,
) -> BatchNorm | LayerNorm | NoNorm:
    """Makes the norm that `kind` of `NORMS` names.

    Args:
      kind: A name in `NORMS`.
      group_size: Images that share statistics; only used by "batch".
      dtype: Type of the result.
      folded: Whether to leave out everything that inference folds into adjacent weights.
      name: Name of the module.

    Raises:
      UserError: The kind is unknown.
    """
    if kind not in NORMS:
        raise UserError(
            f"norm={kind!r} is unknown, expected one of {', '.join(NORMS)}{suggestion(kind, NORMS)}"
        )
    if kind == "layer":
        return LayerNorm(affine=not folded, dtype=dtype, name=name)
    return NoNorm(name=name) if folded else BatchNorm(group_size, dtype=dtype, name=name)


def group_length(batch: int, requested: int) -> int:
    """Returns how many images share statistics in a batch of `batch` images.

    Raises:
      UserError: `batch` is larger than the group and not a multiple of it.
    """
    length = group_size(requested, batch)
    if batch % length:
        raise UserError(
            f"a batch of {batch} images does not divide into BatchNorm groups of {length} "
            f"(bn_group_size); use a batch of {nearest_multiples(batch, length)}"
        )
    return length
