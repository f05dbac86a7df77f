"""Retention, round trips, refusals and cleaning up."""

import logging
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from inceptionnext_jax.checkpoints.evaluation import Evaluation, read_evaluation
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.checkpoints.reading import find_best_step, read_meta
from inceptionnext_jax.checkpoints.steps import newest_undamaged
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train.state import create_state

TX = optax.scale_by_adam()


def state(width: int = 3, dtype=jnp.float32, ema: bool = False, name: str = "kernel"):
    params = {"fc": {name: jnp.arange(2.0 * width, dtype=dtype).reshape(2, width)}}
    return create_state({"params": params}, TX, ema)


def abstract(tree):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def open_checkpoints(folder, metric="eval/top1", keep_latest=2, keep_best=1):
    return Checkpoints(
        folder,
        keep_latest=keep_latest,
        keep_best=keep_best,
        best_metric=metric,
        higher_is_better=metric == "eval/top1",
    )


def steps(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())


@pytest.mark.parametrize(
    ("metric", "values", "kept"),
    [
        ("eval/top1", [0.5, 0.9, 0.3, 0.2, 0.1], [2, 4, 5]),
        ("eval/loss", [0.5, 0.9, 0.3, 0.8, 0.7], [3, 4, 5]),
        ("eval/top1", [0.1, 0.2, 0.3, 0.4, 0.5], [4, 5]),
    ],
)
def test_best_checkpoint_does_not_evict_newest(tmp_path, metric, values, kept):
    checkpoints = open_checkpoints(tmp_path, metric)
    for step, value in enumerate(values, start=1):
        checkpoints.save(state(), step, {})
        checkpoints.record(step, Evaluation({metric: value}))
    checkpoints.close()
    assert steps(tmp_path) == kept
    assert newest_undamaged(tmp_path).name == "5"


def test_the_best_step_is_kept_after_a_restart(tmp_path):
    for step, value in enumerate([0.5, 0.9, 0.3, 0.2, 0.1], start=1):
        checkpoints = open_checkpoints(tmp_path)
        checkpoints.save(state(), step, {})
        checkpoints.record(step, Evaluation({"eval/top1": value, "eval/loss": 1.0}))
        checkpoints.wait()
        checkpoints.close()
    assert steps(tmp_path) == [2, 4, 5]


def test_steps_without_a_score_are_deleted(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    for step in range(1, 8):
        checkpoints.save(state(), step, {})
        if step == 2:
            checkpoints.record(step, Evaluation({"eval/top1": 0.9}))
    checkpoints.close()
    assert steps(tmp_path) == [2, 6, 7]


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    for step, value in enumerate([0.1, float("nan"), 0.05, 0.01], start=1):
        checkpoints.save(state(), step, {})
        checkpoints.record(step, Evaluation({"eval/top1": value}))
    checkpoints.close()
    assert steps(tmp_path) == [1, 3, 4]


@pytest.mark.parametrize(("metric", "best"), [("eval/top1", "2"), ("eval/loss", "1")])
def test_the_best_step_is_found_in_the_direction_of_its_metric(tmp_path, metric, best):
    checkpoints = open_checkpoints(tmp_path, metric, keep_latest=9)
    meta = {"config": {"checkpoint": {"best_metric": metric}}}
    meta["higher_is_better"] = metric == "eval/top1"
    for step, value in enumerate([0.1, 0.9, 0.5], start=1):
        checkpoints.save(state(), step, meta)
        checkpoints.record(step, Evaluation({metric: value}))
    checkpoints.close()
    assert find_best_step(tmp_path).name == best
    (tmp_path / "checkpoints" / best / "meta" / "metadata").write_text("{")
    with pytest.raises(UserError, match=f"{best} is damaged.*name another step"):
        find_best_step(tmp_path)


def test_scores_of_steps_that_were_saved_with_them_are_read(tmp_path):
    """As runs wrote them before evaluations came after the save."""
    folder = tmp_path / "checkpoints" / "3" / "metrics"
    folder.mkdir(parents=True)
    (folder / "metrics").write_text('{"eval/top1": 0.5}')
    assert read_evaluation(folder.parent) == Evaluation({"eval/top1": 0.5}, None)


def test_state_and_meta_are_restored_unchanged(tmp_path):
    checkpoints = open_checkpoints(tmp_path)
    before = state(ema=True)
    checkpoints.save(before, 7, {"config": {"seed": 1}})
    checkpoints.wait()
    after = checkpoints.restore(7, abstract(before))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert checkpoints.meta(7) == read_meta(newest_undamaged(tmp_path)) == {"config": {"seed": 1}}
    checkpoints.close()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (state(width=4), r"params/fc/kernel is float32\[2, 3\], expected float32\[2, 4\]"),
        (state(dtype=jnp.bfloat16), r"params/fc/kernel is float32\[2, 3\], expected bfloat16"),
        (state(name="weight"), "lacks .*params/fc/weight.*also holds .*params/fc/kernel"),
        (state(ema=True), "lacks ema/params/fc/kernel"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_naming_checkpoint_and_path(tmp_path, other, words):
    checkpoints = open_checkpoints(tmp_path)
    checkpoints.save(state(), 3, {})
    checkpoints.wait()
    with pytest.raises(UserError, match=words) as error:
        checkpoints.restore(3, abstract(other))
    assert str(tmp_path / "checkpoints" / "3") in str(error.value)
    checkpoints.close()


def test_leftovers_of_a_killed_save_are_removed(tmp_path):
    leftover = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp"
    (leftover / "state").mkdir(parents=True)
    checkpoints = open_checkpoints(tmp_path)
    assert checkpoints.latest_step() is None
    assert not leftover.exists()
    checkpoints.close()


def test_the_exception_hook_and_the_log_level_are_restored_on_close(tmp_path):
    hook, level = sys.excepthook, logging.getLogger("asyncio").level
    checkpoints = open_checkpoints(tmp_path)
    assert sys.excepthook is not hook
    assert logging.getLogger("asyncio").level == logging.CRITICAL
    checkpoints.close()
    assert sys.excepthook is hook
    assert logging.getLogger("asyncio").level == level


def test_late_callbacks_are_hidden_and_other_errors_are_not(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(str(error)))
    checkpoints = open_checkpoints(tmp_path)
    for text in ("Event loop is closed", "another error"):
        sys.excepthook(RuntimeError, RuntimeError(text), None)
    checkpoints.close()
    assert seen == ["another error"]
