"""BatchNorm over groups against a plain implementation, and without collectives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.norm import BatchNorm


def plain(x, scale, bias, mean, var, group):
    """Returns the normalised batch and the new running statistics, one group after another."""
    x = x.astype(np.float64)
    outputs, means, variances = [], [], []
    for start in range(0, len(x), group):
        part = x[start : start + group]
        m, v = part.mean((0, 1, 2)), part.var((0, 1, 2))
        outputs.append((part - m) / np.sqrt(v + 1e-5) * scale + bias)
        means.append(m)
        variances.append(part.reshape(-1, part.shape[-1]).var(0, ddof=1))
    return (
        np.concatenate(outputs),
        0.9 * mean + 0.1 * np.mean(means, 0),
        0.9 * var + 0.1 * np.mean(variances, 0),
    )


def make(channels, seed=0):
    random = np.random.default_rng(seed)
    return {
        "params": {
            "scale": random.normal(size=channels).astype(np.float32),
            "bias": random.normal(size=channels).astype(np.float32),
        },
        "batch_stats": {
            "mean": random.normal(size=channels).astype(np.float32),
            "var": random.uniform(0.5, 2, channels).astype(np.float32),
        },
    }


@pytest.mark.parametrize(("group", "effective"), [(0, 12), (2, 2), (4, 4), (12, 12), (128, 12)])
def test_training_equals_plain_groups(group, effective):
    x = np.random.default_rng(1).normal(3, 2, (12, 3, 5, 4)).astype(np.float32)
    x *= np.arange(1, 13).reshape(-1, 1, 1, 1)  # the groups differ
    variables = make(4)
    y, new = BatchNorm(group).apply(variables, x, train=True, mutable=["batch_stats"])
    flat = {**variables["params"], **variables["batch_stats"]}
    expected, mean, var = plain(x, **flat, group=effective)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], var, rtol=1e-5)


def test_evaluation_uses_running_statistics():
    x = np.random.default_rng(1).normal(3, 2, (5, 3, 3, 4)).astype(np.float32)
    variables = make(4)
    p, s = variables["params"], variables["batch_stats"]
    expected = (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
    np.testing.assert_allclose(BatchNorm(2).apply(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_statistics_leave_out_rows_that_are_not_valid():
    random = np.random.default_rng(3)
    x, variables = random.normal(2, 3, (6, 2, 3, 4)).astype(np.float32), make(4)
    valid = np.array([True, False, True, True, False, True])
    apply = partial(BatchNorm().apply, variables, train=True, mutable=["batch_stats"])
    y, moved = apply(x, valid=valid)
    expected, wanted = apply(x[valid])
    np.testing.assert_allclose(y[valid], expected, rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            moved["batch_stats"][name], wanted["batch_stats"][name], rtol=1e-5
        )
    y, moved = apply(x, valid=np.zeros(6, bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, moved)))


def test_a_large_mean_does_not_cancel_the_variance():
    x = np.random.default_rng(1).normal(1000, 0.1, (8, 8, 8, 1)).astype(np.float32)
    variables = {
        "params": {"scale": np.ones(1, np.float32), "bias": np.zeros(1, np.float32)},
        "batch_stats": {"mean": np.zeros(1, np.float32), "var": np.ones(1, np.float32)},
    }
    y, _ = BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    assert np.std(y) == pytest.approx(1, abs=5e-3)


def test_bfloat16_input_has_float32_statistics():
    x = jnp.asarray(np.random.default_rng(1).normal(3, 1, (4, 6, 6, 3)), jnp.bfloat16)
    variables = make(3)
    y, new = BatchNorm(dtype=jnp.bfloat16).apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    flat = {**variables["params"], **variables["batch_stats"]}
    _, mean, var = plain(np.asarray(x, np.float32), **flat, group=4)
    assert new["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(new["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], var, rtol=1e-5)


def test_initialisation_leaves_statistics_alone():
    variables = BatchNorm().init(jax.random.key(0), jnp.full((2, 3, 3, 2), 7.0), train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(2))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(2))


def test_a_batch_that_groups_do_not_divide_suggests_the_nearest():
    with pytest.raises(UserError, match=r"10 images.*groups of 4.*batch of 8 or 12"):
        BatchNorm(4).apply(make(2), np.ones((10, 2, 2, 2)), train=True, mutable=["batch_stats"])


def compiled_on_eight_devices(group, outputs):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))

    def step(variables, x):
        y, new = BatchNorm(group).apply(variables, x, train=True, mutable=["batch_stats"])
        loss = jnp.square(y).sum((1, 2, 3))
        return outputs(y, loss, new)

    jitted = jax.jit(step, in_shardings=(everywhere, split))
    return jitted.lower(make(4), jnp.ones((32, 4, 4, 4))).compile().as_text()


@pytest.mark.parametrize("group", [1, 2, 4])
def test_groups_within_a_shard_need_no_collective(group):
    text = compiled_on_eight_devices(group, lambda y, loss, new: y)
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
        assert collective not in text


def test_groups_over_shards_need_a_collective():
    assert "all-reduce" in compiled_on_eight_devices(0, lambda y, loss, new: y)
