"""The transformations that turn AdamW's update into timm's LAMB (`timm.optim.Lamb`).

Unlike in Optax's `lamb`, gradients are clipped inside the optimizer, and only the updates of
parameters that decay are scaled.
"""

import jax
import jax.numpy as jnp
import optax

from inceptionnext_jax import trees
from inceptionnext_jax.types import PyTree


def clip_to_unit_norm() -> optax.GradientTransformation:
    """Divides gradients by max(1, their global norm), after any clipping by `optim.clip_norm`."""

    def clipped(gradient: PyTree, params: PyTree) -> PyTree:
        divisor = jnp.maximum(1.0, optax.tree.norm(gradient))
        return jax.tree.map(lambda g: g / divisor, gradient)

    return optax.stateless(clipped)


def scale_by_trust_ratio(mask: PyTree) -> optax.GradientTransformation:
    """Gives each update whose leaf in `mask` is True its parameter's norm, unless either is 0.

    In stacked parameters, each block has its own norm.
    """

    def scaled(update: PyTree, params: PyTree) -> PyTree:
        stacked = jax.tree.unflatten(
            jax.tree.structure(params), [trees.is_stacked(path) for path in trees.paths(params)]
        )
        return jax.tree.map(
            lambda u, p, adapts, axis: u * _ratio(p, u, axis) if adapts else u,
            update, params, mask, stacked,
        )  # fmt: skip

    return optax.stateless(scaled)


def _ratio(param: jax.Array, update: jax.Array, stacked: bool) -> jax.Array:
    """Returns ||param|| / ||update||, or 1: [1, …], for stacked blocks [depth, 1, …]."""
    axes = tuple(range(int(stacked), param.ndim))
    of_param, of_update = (
        jnp.sqrt(jnp.sum(jnp.square(a), axis=axes, keepdims=True)) for a in (param, update)
    )
    valid = (of_param > 0) & (of_update > 0)
    return jnp.where(valid, of_param / jnp.where(valid, of_update, 1), 1)
