"""Losses of detectors, element by element; sums and their normalisers are the networks' own."""

import jax
import jax.numpy as jnp
from jax import nn

from inceptionnext_jax.ops import boxes as box_ops

EPS = float(jnp.finfo(jnp.float32).eps)  # added to the number that a sum is divided by
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def mean_over(values: jax.Array, included: jax.Array, count: jax.Array) -> jax.Array:
    """Returns the sum of values where `included`, divided by `count` as mmdetection divides."""
    total = jnp.where(included, values, 0).sum()
    return total / (jnp.maximum(count, 1).astype(total.dtype) + EPS)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Maps logits [...] and targets [...] bool to losses [...]."""
    return jnp.where(targets, nn.softplus(-logits), nn.softplus(logits))


def softmax_cross_entropy(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Maps logits [..., K] and classes [...] int32 to losses [...]."""
    chosen = jnp.take_along_axis(nn.log_softmax(logits), classes[..., None], axis=-1)
    return -chosen[..., 0]


def focal(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns RetinaNet's focal loss (ICCV 2017, equation 5) of logits and targets [...] bool."""
    wrong = nn.sigmoid(jnp.where(targets, -logits, logits))  # probability of the other answer
    weights = jnp.where(targets, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return weights * wrong**FOCAL_GAMMA * binary_cross_entropy(logits, targets)


def smooth_l1(found: jax.Array, wanted: jax.Array, beta: float) -> jax.Array:
    """Returns |difference|, or a parabola where that is below `beta`: [..., 4] to [...], summed."""
    distance = jnp.abs(found - wanted)
    if beta:
        distance = jnp.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2)
    return distance.sum(-1)


def giou_loss(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """Returns 1 - the generalised IoU of boxes [..., 4]."""
    return 1 - box_ops.giou(found, wanted)
