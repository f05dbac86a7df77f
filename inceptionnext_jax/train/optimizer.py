"""Optimizers that give directions, which the step multiplies by the learning rate.

With the rate outside, the schedule lives on the host, a skipped step leaves no trace, and freezing
and per-layer rates are one factor per parameter.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from inceptionnext_jax import trees
from inceptionnext_jax.checks import Section, is_number
from inceptionnext_jax.models.layer_ids import GROUPS
from inceptionnext_jax.models.registry import model_info
from inceptionnext_jax.train.lamb import clip_to_unit_norm, scale_by_trust_ratio
from inceptionnext_jax.train.layer_decay import layer_factors
from inceptionnext_jax.types import PyTree

# Matrices and convolution kernels decay; never biases, norms and layer scale (timm's parameter
# groups: no decay for ndim <= 1 or names ending in `.bias`), nor the position embeddings of
# attention (the networks' own `no_weight_decay` in timm).
DECAY_RULES = (
    (r"(.*/)?kernel", True),
    (r"(.*/)?(bias|scale|gamma)", False),
    (r"(.*/)?(cls_token|pos_embed|relative_position_bias_table)", False),
)


def check_optim(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the section: one sentence each."""
    optim = config.optim
    section = Section(optim, "optim")
    section.choice("name", DIRECTIONS)
    section.number("lr", above=0)
    section.count("lr_batch_size")
    section.number("weight_decay", at_least=0)
    for key in ("b1", "b2", "momentum"):
        section.fraction(key, one=False)
    section.number("eps", above=0)
    section.number("clip_norm", above=0, optional=True)
    section.count("accumulate", least=1, below=2**31)
    section.text("freeze")
    if section.is_set("freeze"):
        section.add("freeze", *_check_pattern("optim.freeze", optim.freeze))
    section.sequence("lr_mult")
    if section.is_set("lr_mult"):
        for entry in optim.lr_mult:
            section.add("lr_mult", *_check_multiplier(entry))
    section.fraction("layer_decay", above=0, optional=True)
    section.choice("layer_groups", GROUPS)
    return section.problems


def _check_multiplier(entry: object) -> list[str]:
    if not (isinstance(entry, tuple | list) and len(entry) == 2):
        return [f"optim.lr_mult={entry!r} must be a pair (regex, factor)"]
    pattern, factor = entry
    if not is_number(factor) or factor < 0:
        return [f"optim.lr_mult={entry!r}: the factor must be a number >= 0"]
    return _check_pattern(f"optim.lr_mult[{pattern!r}]", pattern)


def _check_pattern(key: str, pattern: object) -> list[str]:
    try:
        re.compile(str(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        return [f"{key}={pattern!r} is not a regular expression ({error})"]
    return []


class Optimizer(NamedTuple):
    """A descent direction at rate 1, `tx`, and the rate's factors.

    `rate_factors` has one factor for each parameter: a float, or for stacked blocks that differ an
    array [depth, 1, …]. 0 freezes: no gradient, no moments, no update.
    """

    tx: optax.GradientTransformation
    rate_factors: PyTree
    clip_norm: float | None


def make_optimizer(
    optim: ConfigDict, params: PyTree, model_name: str = "", body: str = ""
) -> Optimizer:
    """Makes the optimizer `optim.name`, with a rate factor for each parameter.

    Args:
      optim: The config's section.
      params: Parameters of the model, or their shapes, plain or stacked.
      model_name: Decides on the layers; needed with `optim.layer_decay` only.
      body: Prefix of the named model's parameters, as in `Task`.

    Raises:
      UserError: No decay rule covers a parameter, a regex of `optim.freeze` or
        `optim.lr_mult` matches nothing, or layer decay covers none.
    """
    decay_mask = trees.by_rules(params, DECAY_RULES, "weight decay")
    tx = DIRECTIONS[optim.name](optim, decay_mask)
    return Optimizer(tx, _rate_factors(optim, params, model_name, body), optim.clip_norm)


def _adamw(optim: ConfigDict, decay_mask: PyTree) -> optax.GradientTransformation:
    """p -= lr * (m̂ / (√v̂ + eps) + weight_decay * p): the decay is decoupled from the moments."""
    return optax.chain(
        scale_by_adam(optim.b1, optim.b2, optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        optax.scale(-1.0),
    )


def _lamb(optim: ConfigDict, decay_mask: PyTree) -> optax.GradientTransformation:
    """timm's LAMB: AdamW's update of gradients clipped to 1, with its parameter's norm."""
    adapted = decay_mask if optim.weight_decay else jax.tree.map(lambda _: False, decay_mask)
    return optax.chain(
        clip_to_unit_norm(),
        scale_by_adam(optim.b1, optim.b2, optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        scale_by_trust_ratio(adapted),
        optax.scale(-1.0),
    )


def _sgd(optim: ConfigDict, decay_mask: PyTree) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, as timm's "sgd": g += weight_decay * p, before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        optax.trace(decay=optim.momentum, nesterov=True),
        optax.scale(-1.0),
    )


DIRECTIONS: dict[str, Callable[[ConfigDict, PyTree], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "lamb": _lamb,
    "sgd": _sgd,
}


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m̂ / (√v̂ + eps), as `optax.scale_by_adam` with an exact bias correction.

    Optax computes 1 - b2 ** count in float32, where 1 - 0.999 is off by 1.3e-5.
    """

    def update(
        gradient: PyTree, state: optax.ScaleByAdamState, params: PyTree = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradient)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradient)
        count = optax.safe_increment(state.count)

        def direction(m: jax.Array, v: jax.Array) -> jax.Array:
            steps = count.astype(m.dtype)
            m_hat = m / _correction(b1, steps)
            return m_hat / (jnp.sqrt(v / _correction(b2, steps)) + eps)

        return jax.tree.map(direction, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def _correction(decay: float, steps: jax.Array) -> jax.Array:
    """Returns 1 - decay ** steps, without cancellation."""
    return -jnp.expm1(steps * math.log(decay)) if decay else jnp.ones_like(steps)


def _rate_factors(optim: ConfigDict, params: PyTree, model_name: str, body: str) -> PyTree:
    """Returns the rate's factors: freezing, multipliers and layer decay in one."""
    plain = trees.plain_paths(params)  # so that patterns and layers do not depend on stacking
    names = [name for names in plain for name in names]
    if optim.freeze:
        trees.require_match(names, optim.freeze, "optim.freeze")
    for pattern, _ in optim.lr_mult:
        trees.require_match(names, pattern, "optim.lr_mult")
    layer_factor = dict.fromkeys(names, 1.0)
    if optim.layer_decay is not None:
        family = model_info(model_name).family
        layer_factor = layer_factors(family, names, optim.layer_decay, body, optim.layer_groups)

    def factor(name: str) -> float:
        if optim.freeze and re.search(optim.freeze, name):
            return 0.0
        multiplier = next((f for pattern, f in optim.lr_mult if re.search(pattern, name)), 1.0)
        return float(multiplier * layer_factor[name])

    leaves, structure = jax.tree.flatten(params)
    factors: list[float | np.ndarray] = []
    for leaf, names in zip(leaves, plain, strict=True):
        each = [factor(name) for name in names]
        same = len(set(each)) == 1
        rest = (1,) * (len(leaf.shape) - 1)
        factors.append(each[0] if same else np.reshape(each, (-1, *rest)))
    return jax.tree.unflatten(structure, factors)
