"""Steps that were saved before a variable moved."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from inceptionnext_jax import trees
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.checkpoints.moved import current_path
from inceptionnext_jax.checkpoints.reading import read_step
from inceptionnext_jax.errors import UserError

TX = optax.chain(optax.clip(1.0), optax.scale_by_adam())


class OldState(struct.PyTreeNode):
    """The state of a run as it was before host variables."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    skipped: jax.Array


class NewState(struct.PyTreeNode):
    """The same with host variables."""

    step: jax.Array
    params: Any
    batch_stats: Any
    host: Any
    opt_state: Any
    ema: Any
    skipped: jax.Array


def array(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def old_state(slope: bool, ema: bool) -> OldState:
    params = {"stem": {"kernel": array(0, 3, 4)}}
    stats = {"norm": {"mean": array(1, 4)}} | ({"slope": array(2)} if slope else {})
    averages = {
        "params": {"stem": {"kernel": array(3, 3, 4)}},
        "batch_stats": {"norm": {"mean": array(4, 4)}} | ({"slope": array(5)} if slope else {}),
    }
    # Two moments that differ from zero, as after some steps.
    _, opt_state = TX.update({"stem": {"kernel": array(6, 3, 4)}}, TX.init(params))
    count = jnp.ones((), jnp.int32)
    return OldState(count, params, stats, opt_state, averages if ema else None, count)


def new_state(old: OldState) -> NewState:
    """The same arrays under the present paths."""

    def split(stats):
        host = {"slope": stats["slope"]} if "slope" in stats else {}
        return {"batch_stats": {"norm": stats["norm"]}, "host": host}

    ema = old.ema and {"params": old.ema["params"], **split(old.ema["batch_stats"])}
    return NewState(
        step=old.step,
        params=old.params,
        **split(old.batch_stats),
        opt_state=old.opt_state,
        ema=ema,
        skipped=old.skipped,
    )


def abstract(tree):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[-1])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


@pytest.fixture
def checkpoints(tmp_path):
    found = Checkpoints(
        tmp_path, keep_latest=9, keep_best=1, best_metric="eval/top1", higher_is_better=True
    )
    yield found
    found.close()


def save(checkpoints, state, step=1):
    checkpoints.save(state, step, {"step": step})
    checkpoints.wait()


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("slope", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_steps_restore_bit_for_bit(checkpoints, slope, ema, old):
    before = old_state(slope, ema)
    expected = new_state(before)
    save(checkpoints, before if old else expected)
    restored = checkpoints.restore(1, abstract(expected))
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert all(leaf.devices() == {jax.devices()[-1]} for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("slope", [False, True])
def test_weights_of_old_and_new_steps_are_read_alike(checkpoints, slope, old):
    before = old_state(slope, ema=True)
    expected = new_state(before)
    save(checkpoints, before if old else expected)
    variables, averages, _ = read_step(checkpoints.folder / "1")
    for got, state in ((variables, vars(expected)), (averages, expected.ema)):
        names = ["params", "batch_stats", *(["host"] if slope else [])]
        assert list(got) == names
        wanted = dict(trees.paths_and_leaves({name: state[name] for name in names}))
        found = dict(trees.paths_and_leaves(got))
        assert found.keys() == wanted.keys()
        for path, leaf in wanted.items():
            np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_a_moved_variable_is_compared_under_its_present_path(checkpoints):
    save(checkpoints, old_state(slope=True, ema=False))
    wanted = new_state(old_state(slope=True, ema=False)).replace(host={"slope": jnp.ones(2)})
    with pytest.raises(UserError, match=r"host/slope is float32\[\], expected float32\[2\]"):
        checkpoints.restore(1, abstract(wanted))
    with pytest.raises(UserError, match="also holds host/slope"):
        checkpoints.restore(1, abstract(wanted.replace(host={})))


@pytest.mark.parametrize(
    ("saved", "current"),
    [
        ("batch_stats/slope", "host/slope"),
        ("ema/batch_stats/slope", "ema/host/slope"),
        ("host/slope", "host/slope"),
        ("params/slope", "params/slope"),
        ("batch_stats/head/slope", "batch_stats/head/slope"),
        ("batch_stats/slope/mean", "batch_stats/slope/mean"),
    ],
)
def test_only_whole_paths_are_renamed(saved, current):
    assert current_path(saved) == current
