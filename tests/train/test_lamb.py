"""The particulars of timm's LAMB; test_optimizer.py compares whole steps to timm's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks
from inceptionnext_jax.train.optimizer import make_optimizer
from tests.train.test_optimizer import optim


def direction(params, gradient, **changes):
    tx = make_optimizer(optim(name="lamb", **changes), params).tx
    return tx.update(gradient, tx.init(params), params)[0]


@pytest.fixture
def params():
    rng = np.random.default_rng(1)
    return {
        f"blocks_{i}": {"kernel": jnp.asarray((i + 1) * rng.normal(size=(4, 3)), jnp.float32),
                        "bias": jnp.asarray(rng.normal(size=3), jnp.float32)}
        for i in range(3)
    }  # fmt: skip


def test_only_updates_of_decayed_parameters_take_their_norm(params):
    update = direction(params, jax.tree.map(lambda p: 2 * p + 1, params))
    for name, block in params.items():
        lengths = [float(jnp.linalg.norm(tree["kernel"])) for tree in (block, update[name])]
        assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)
        np.testing.assert_allclose(abs(update[name]["bias"]), 1, rtol=1e-4)  # Adam's first step


def test_without_weight_decay_no_update_is_rescaled(params):
    update = direction(params, params, weight_decay=0.0)
    for leaf in jax.tree.leaves(update):
        np.testing.assert_allclose(abs(leaf), 1, rtol=1e-4)


def test_gradients_are_clipped_to_norm_one_before_the_moments(params):
    tx = make_optimizer(optim(name="lamb"), params).tx
    moments = lambda gradient: tx.update(gradient, tx.init(params), params)[1][1].mu  # noqa: E731
    large, small = (jax.tree.map(lambda p, s=s: s * p, params) for s in (7.0, 1e-3))
    norm = lambda tree: float(jnp.sqrt(sum((x**2).sum() for x in jax.tree.leaves(tree))))  # noqa: E731
    assert norm(moments(large)) == pytest.approx(0.1, rel=1e-5)
    assert norm(moments(small)) == pytest.approx(0.1 * norm(small), rel=1e-5)


def test_stacked_blocks_are_rescaled_one_by_one(params):
    gradient = jax.tree.map(jnp.cos, params)
    plain = direction(params, gradient)
    stacked = direction(stack_blocks(params), stack_blocks(gradient))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, unstack_blocks(stacked)
    )
