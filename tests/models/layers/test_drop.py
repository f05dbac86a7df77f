"""Drop masks depend on key, block and global position, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from inceptionnext_jax import create_model
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.drop import DropNoise, channel_dropout, drop_path, dropout
from inceptionnext_jax.models.network import drop_path_rates
from tests.models.oracle import random_variables

KEY = jax.random.key(3)


def masks(key, indices, positions, rate=0.5):
    """Returns [indices, positions] booleans: True for examples that are kept."""
    noise = DropNoise.create(key, len(positions), jnp.asarray(positions))
    ones = jnp.ones((len(positions), 1, 1, 1))
    rows = [drop_path(ones, noise, index, rate)[:, 0, 0, 0] > 0 for index in indices]
    return np.stack(rows)


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    noise = DropNoise.create(KEY, 4000, None)
    y = np.asarray(drop_path(jnp.ones((4000, 2, 2, 3)), noise, 5, 0.2))
    assert set(np.unique(y)) == {0, np.float32(1.25)}
    assert (y == y[:, :1, :1, :1]).all()
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_masks_differ_between_blocks_keys_and_positions():
    first = masks(KEY, range(18), range(64))
    assert len({row.tobytes() for row in first}) == 18
    assert len({column.tobytes() for column in first.T}) == 64
    assert 0.45 < first.mean() < 0.55
    other_step = masks(jax.random.fold_in(KEY, 1), range(18), range(64))
    assert 0.4 < (first == other_step).mean() < 0.6


def test_masks_follow_the_position_not_the_order_in_the_array():
    whole = masks(KEY, range(3), range(64))
    np.testing.assert_array_equal(masks(KEY, range(3), range(48, 64)), whole[:, 48:])
    shuffled = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(masks(KEY, range(3), shuffled), whole[:, shuffled])


@pytest.mark.parametrize("rate", [np.float32(0.3), jnp.float32(0.3)])
def test_rate_zero_is_the_identity_and_array_rates_draw_the_same_mask(rate):
    noise = DropNoise.create(KEY, 64, None)
    x = jax.random.normal(KEY, (64, 1, 1, 2))
    np.testing.assert_array_equal(drop_path(x, noise, 0, 0.0), x)
    np.testing.assert_array_equal(
        jax.jit(drop_path)(x, noise, jnp.int32(4), rate) == 0, drop_path(x, noise, 4, 0.3) == 0
    )


def test_dropout_drops_elements_by_position():
    x = jnp.ones((8, 500))
    y = dropout(x, DropNoise.create(KEY, 8, None), 18, 0.25)
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert len({row.tobytes() for row in np.asarray(y)}) == 8
    half = dropout(x[4:], DropNoise.create(KEY, 4, jnp.arange(4, 8)), 18, 0.25)
    np.testing.assert_array_equal(half, y[4:])


def test_rates_rise_linearly_over_all_blocks():
    rates = drop_path_rates(0.1, (3, 3, 9, 3))
    assert len(rates) == 18
    np.testing.assert_allclose(rates, np.arange(18) * 0.1 / 17)


# The whole network: with gamma at 1 and statistics within each image, logits show the masks.
OPTIONS = {"num_classes": 5, "stage_depths": (1, 2, 1, 1), "drop_path_rate": 0.6}
OPTIONS |= {"dropout_rate": 0.3, "bn_group_size": 1, "depthwise_impl": "conv"}


@pytest.fixture(scope="module")
def network():
    model = create_model("inceptionnext_atto", **OPTIONS)
    x = jax.random.normal(KEY, (8, 64, 64, 3))
    variables = random_variables(model)

    @jax.jit
    def logits(x, key, positions):
        rngs = {"dropout": key}
        return model.apply(
            variables, x, train=True, positions=positions, mutable=["batch_stats"], rngs=rngs
        )[0]

    return logits, x


def test_micro_batches_equal_the_whole_batch(network):
    logits, x = network
    whole = logits(x, KEY, jnp.arange(8))
    parts = [logits(x[i : i + 2], KEY, jnp.arange(i, i + 2)) for i in range(0, 8, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-4)
    wrong = logits(x[2:4], KEY, jnp.arange(2))
    assert np.abs(wrong - whole[2:4]).max() > 1e-2


def test_eight_devices_equal_one_without_collectives(network):
    logits, x = network
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    given = jax.device_put(x, split), KEY, jax.device_put(jnp.arange(8), split)
    compiled = logits.lower(*given).compile()
    sharded = compiled(*given)
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
        assert collective not in compiled.as_text()
    np.testing.assert_allclose(sharded, logits(x, KEY, jnp.arange(8)), rtol=1e-3, atol=1e-4)


def test_positions_default_to_the_order_and_steps_differ(network):
    logits, x = network
    first = logits(x, KEY, None)
    np.testing.assert_array_equal(first, logits(x, KEY, jnp.arange(8)))
    assert np.abs(first - logits(x, jax.random.fold_in(KEY, 1), None)).max() > 1e-2


def test_without_dropping_no_key_is_needed():
    model = create_model("inceptionnext_atto", stage_depths=(1, 1, 1, 1), num_classes=2)
    x = jnp.zeros((2, 32, 32, 3))
    jax.eval_shape(lambda k: model.init_with_output(k, x, train=True), KEY)
    variables = jax.eval_shape(model.init, KEY, x)
    jax.eval_shape(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]), variables)


def test_positions_of_another_length_are_refused():
    with pytest.raises(UserError, match=r"\(3,\), expected \(4,\)"):
        DropNoise.create(KEY, 4, jnp.arange(3))


def test_channel_dropout_drops_whole_channels_by_position():
    x = jnp.ones((6, 3, 4, 500))
    noise = DropNoise.create(KEY, 6, None)
    y = np.asarray(channel_dropout(x, noise, 1, 0.2))
    assert set(np.unique(y)) == {0, np.float32(1.25)}
    assert (y == y[:, :1, :1]).all()
    assert y.mean() == pytest.approx(1, abs=0.05)
    assert len({row.tobytes() for row in y[:, 0, 0]}) == 6
    assert (y != channel_dropout(x, noise, 0, 0.2)).any()
    later = DropNoise.create(KEY, 2, jnp.asarray([4, 1]))
    np.testing.assert_array_equal(channel_dropout(x[:2], later, 1, 0.2), y[[4, 1]])
