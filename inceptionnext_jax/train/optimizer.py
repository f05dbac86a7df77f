"""Optimizers as directions: the step multiplies them by the learning rate.

Keeping the rate outside lets the schedule live on the host, lets a skipped step leave no trace,
and makes freezing and per-layer rates a factor per parameter.
"""

import re
from typing import Any, NamedTuple

import jax
import optax
from ml_collections import ConfigDict

from inceptionnext_jax.train import trees

# Which parameters decay: matrices and convolution kernels; never biases, norms, layer scale
# (timm's parameter groups: no decay for ndim <= 1 or names ending in `.bias`).
DECAY_RULES = (
    (r"(.*/)?kernel", True),
    (r"(.*/)?(bias|scale|gamma)", False),
)


class Optimizer(NamedTuple):
    """`tx` gives the descent direction at rate 1; `rate_factors` has one factor per parameter."""

    tx: optax.GradientTransformation
    rate_factors: Any
    clip_norm: float | None


def make_optimizer(optim: ConfigDict, params: Any) -> Optimizer:
    """AdamW with decoupled weight decay: p -= lr * (m̂ / (√v̂ + eps) + weight_decay * p).

    `params` may be shapes. Raises UserError when a parameter is covered by no decay rule, or a
    regex of `optim.freeze` or `optim.lr_mult` matches nothing.
    """
    decay_mask = trees.by_rules(params, DECAY_RULES, "weight decay")
    tx = optax.chain(
        optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        optax.scale(-1.0),
    )
    return Optimizer(tx, _rate_factors(optim, params), optim.clip_norm)


def _rate_factors(optim: ConfigDict, params: Any) -> Any:
    """A Python number per parameter: 0 freezes it."""
    if optim.freeze:
        trees.require_match(params, optim.freeze, "optim.freeze")
    for pattern, _ in optim.lr_mult:
        trees.require_match(params, pattern, "optim.lr_mult")

    def factor(path: str) -> float:
        if optim.freeze and re.search(optim.freeze, path):
            return 0.0
        return next((f for pattern, f in optim.lr_mult if re.search(pattern, path)), 1.0)

    factors = [float(factor(path)) for path in trees.paths(params)]
    return jax.tree.unflatten(jax.tree.structure(params), factors)
