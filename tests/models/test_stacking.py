"""Scanned and recomputed blocks equal unrolled ones; stacking is lossless."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from inceptionnext_jax import create_model
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.network import Stage
from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks
from tests.models.oracle import random_variables

KEY = jax.random.key(0)
QUICKLY = {"xla_backend_optimization_level": 0}
OPTIONS = {"num_classes": 5, "stage_depths": (1, 2, 1, 1), "bn_group_size": 2}
OPTIONS |= {"drop_path_rate": 0.5, "dropout_rate": 0.2, "depthwise_impl": "conv"}


def make(**options):
    return create_model("inceptionnext_atto", **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def variables():
    return random_variables(make())


def step(model, variables, x):
    """Returns logits, new statistics and gradients of one training pass."""

    def loss(params):
        logits, new = model.apply(
            {**variables, "params": params}, x, train=True,
            mutable=["batch_stats"], rngs={"dropout": KEY},
        )  # fmt: skip
        return jnp.square(logits).sum(), (logits, new)

    grads, (logits, new) = jax.grad(loss, has_aux=True)(variables["params"])
    return {"logits": logits, **new, "params": grads}


@pytest.fixture(scope="module")
def unrolled(variables):
    x = np.random.default_rng(1).normal(size=(4, 64, 64, 3)).astype(np.float32)
    return x, jax.jit(lambda v: step(make(), v, x), compiler_options=QUICKLY)(variables)


@pytest.mark.parametrize(
    ("scan", "remat"),
    [
        (True, False),
        (False, True),
        (True, "dots"),
        (True, "mixer"),
        pytest.param(True, True, marks=pytest.mark.slow),
    ],
)
def test_training_pass_equals_the_unrolled_one(variables, unrolled, scan, remat):
    x, expected = unrolled
    model = make(scan=scan, remat=remat)
    given = stack_blocks(variables) if scan else variables
    result = jax.jit(lambda v: step(model, v, x), compiler_options=QUICKLY)(given)
    if scan:
        result = unstack_blocks(result)
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    # Relative to the largest value of a kind: a norm cancels the biases before it.
    for kind in ("logits", "batch_stats", "params"):
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[kind]))
        for (path, ours), theirs in zip(
            jax.tree.leaves_with_path(result[kind]), jax.tree.leaves(expected[kind]), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * largest, err_msg=str(path))


def saved_shapes(remat):
    """Returns the shapes of all residuals of two scanned blocks for the backward pass."""
    model = make(scan=True, remat=remat, stage_depths=(2, 1, 1, 1))
    x = jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, x)

    def loss(params, rest, x):
        rngs = {"dropout": KEY}
        variables = {**rest, "params": params}
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0].sum()

    rest = {"batch_stats": variables["batch_stats"]}
    found = jax.eval_shape(
        lambda p, *args: jax.vjp(loss, p, *args)[1], variables["params"], rest, x
    )
    return [leaf.shape for leaf in jax.tree.leaves(found)]


def test_policies_save_the_activations_they_name():
    whole, hidden = (2, 4, 16, 16, 40), (2, 4 * 16 * 16, 160)  # of both blocks of the first stage
    shapes = {remat: saved_shapes(remat) for remat in (True, "full", "dots", "mixer")}
    assert shapes[True] == shapes["full"]
    assert (shapes["full"].count(whole), shapes["full"].count(hidden)) == (1, 0)  # the inputs
    assert (shapes["mixer"].count(whole), shapes["mixer"].count(hidden)) == (2, 0)
    assert shapes["dots"].count(hidden) == 1


def test_scanned_model_has_stacked_variables(variables):
    shapes = jax.eval_shape(make(scan=True).init, KEY, jnp.zeros((1, 32, 32, 3)))
    stacked = stack_blocks(variables)
    assert jax.tree.structure(shapes) == jax.tree.structure(stacked)
    assert [a.shape for a in jax.tree.leaves(shapes)] == [a.shape for a in jax.tree.leaves(stacked)]
    assert stacked["params"]["stages_1"]["blocks"]["gamma"].shape == (2, 80)


def test_scanned_blocks_start_from_different_values():
    model = make(scan=True, stage_depths=(1, 2, 1, 1))

    def one_kernel(key):
        variables = model.init(key, jnp.zeros((1, 32, 32, 3)))
        return variables["params"]["stages_1"]["blocks"]["mlp"]["fc1"]["kernel"]

    first, second = jax.jit(one_kernel)(KEY)
    assert np.abs(first - second).max() > 0.01


class Gained(nn.Module):
    """A block with a host variable."""

    @nn.compact
    def __call__(self, x, noise, rate, block_index, train):
        gain = self.variable("host", "gain", lambda: jnp.float32(2))
        return x * gain.value


@pytest.mark.parametrize("remat", [False, True])
def test_host_variables_of_blocks_are_stacked_and_read(remat):
    x = jnp.ones((1, 2, 2, 3))
    plain, scanned = (
        Stage((Gained, Gained), (0.0, 0.0), 0, scan=scan, remat=remat) for scan in (False, True)
    )
    given = {"host": {"blocks_0": {"gain": np.float32(3)}, "blocks_1": {"gain": np.float32(5)}}}
    stacked = stack_blocks(given)
    for model, variables in ((plain, given), (scanned, stacked)):
        made = model.init(KEY, x, None)
        assert jax.tree.structure(made) == jax.tree.structure(variables)
        np.testing.assert_array_equal(model.apply(variables, x, None), 15 * x)
    assert unstack_blocks(stacked) == given


@pytest.mark.parametrize("convert", [lambda leaf: leaf, jnp.asarray], ids=["numpy", "jax"])
def test_round_trip_is_lossless(variables, convert):
    tree = jax.tree.map(convert, variables)
    back = unstack_blocks(stack_blocks(tree))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert type(ours) is type(theirs)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_optimizer_states_and_plain_trees_are_accepted(variables):
    state = optax.adamw(1e-3).init(variables["params"])
    stacked = stack_blocks(state)
    expected = optax.adamw(1e-3).init(stack_blocks(variables["params"]))
    assert jax.tree.structure(stacked) == jax.tree.structure(expected)
    assert jax.tree.structure(unstack_blocks(stacked)) == jax.tree.structure(state)
    assert stack_blocks({"a": [1, (2, None)]}) == {"a": [1, (2, None)]}


def test_ten_blocks_keep_their_numeric_order():
    tree = {f"blocks_{i}": {"gamma": np.full(2, i)} for i in range(12)}
    np.testing.assert_array_equal(stack_blocks(tree)["blocks"]["gamma"][:, 0], np.arange(12))
    assert list(unstack_blocks(stack_blocks(tree))) == list(tree)


def test_a_gap_in_the_numbers_is_refused():
    with pytest.raises(UserError, match=r"\[0, 2\]"):
        stack_blocks({"blocks_0": {}, "blocks_2": {}})


def test_blocks_that_differ_are_refused():
    with pytest.raises(UserError, match="differ"):
        stack_blocks({"blocks_0": {"a": np.ones(2)}, "blocks_1": {"a": np.ones(3)}})
