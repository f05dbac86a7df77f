"""Losses against soft targets."""

import jax


def softmax_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross entropy against soft targets. [N, K], [N, K] -> [N]."""
    return -(targets * jax.nn.log_softmax(logits)).sum(axis=-1)


def bce_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross entropy against soft targets, mean over classes as in timm. -> [N]."""
    terms = targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits)
    return -terms.mean(axis=-1)


LOSSES = {"softmax": softmax_loss, "bce": bce_loss}
