"""What enters a step from the host, and what leaves it as averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.tasks.classification.task import Classification
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.train.step import make_train_step
from tests.runs import metrics, run
from tests.train.test_optimizer import optim


def test_a_tasks_scalars_reach_the_loss_and_the_log(tmp_path, monkeypatch):
    """As the slope of an activation that rises over the run."""
    plain_loss = Classification.loss

    def loss(self, params, batch_stats, batch, key, positions, hyper):
        mean, (stats, sums) = plain_loss(self, params, batch_stats, batch, key, positions, hyper)
        return mean, (stats, {**sums, "seen": (hyper["slope"], jnp.ones_like(hyper["slope"]))})

    hyper = lambda self, step, plan: {"slope": step / plan.total_steps}  # noqa: E731
    monkeypatch.setattr(Classification, "hyper", hyper)
    monkeypatch.setattr(Classification, "loss", loss)
    assert run(tmp_path, **{"total_steps": 4}) == 0
    lines = [line for line in metrics(tmp_path) if "train/loss" in line]
    assert [line["train/slope"] for line in lines] == [0, 0.25, 0.5, 0.75]
    assert [line["train/seen"] for line in lines] == [0, 0.25, 0.5, 0.75]


class TinyTask:
    """A product, then BatchNorm, on vectors [N, 3]: quick to compile."""

    def init(self, key):
        params = {"kernel": jax.random.normal(key, (3, 4)), "scale": jnp.ones(4)}
        return {"params": params, "batch_stats": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}

    def augment(self, key, batch, positions):
        return batch

    def loss(self, params, batch_stats, batch, key, positions, hyper):
        y = batch["x"] @ params["kernel"]
        mean, var = y.mean(0), y.var(0)
        moved = {"mean": 0.9 * batch_stats["mean"] + 0.1 * mean,
                 "var": 0.9 * batch_stats["var"] + 0.1 * var * len(y) / (len(y) - 1)}  # fmt: skip
        loss = jnp.square((y - mean) / jnp.sqrt(var + 1e-5) * params["scale"] - 1).mean()
        return loss, (moved, {"loss": (loss, jnp.float32(1))})


def test_averages_equal_timms_modelema_statistics_included(timm):
    import torch
    from timm.utils import ModelEmaV2

    model = torch.nn.Sequential(torch.nn.Linear(3, 4, bias=False),
                                torch.nn.BatchNorm1d(4))  # fmt: skip
    names = {"0.weight": ("params", "kernel"), "1.weight": ("params", "scale"),
             "1.running_mean": ("batch_stats", "mean"),
             "1.running_var": ("batch_stats", "var")}  # fmt: skip

    def copy_into_model(weights):
        state = model.state_dict()
        for name, (kind, leaf) in names.items():
            state[name].copy_(torch.tensor(np.asarray(weights[kind][leaf]).T.copy()))

    task = TinyTask()
    variables = task.init(jax.random.key(0))
    optimizer = make_optimizer(optim(), variables["params"])
    state = create_state(variables, optimizer.tx, ema=True)
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.9))
    copy_into_model(state.weights())
    reference = ModelEmaV2(model, decay=0.9)
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch = {"x": rng.normal(1, 2, (1, 16, 3)).astype(np.float32)}
        state, _ = step(state, batch, {"lr": np.float32(0.1)})
        copy_into_model(state.weights())
        reference.update(model)
    for name, (kind, leaf) in names.items():
        wanted = reference.module.state_dict()[name].numpy().T
        assert abs(state.ema[kind][leaf] - wanted).max() < 1e-6 * abs(wanted).max(), name
        assert abs(state.ema[kind][leaf] - state.weights()[kind][leaf]).max() > 1e-2, name


class SlopedTask(TinyTask):
    """The same, of a leaky ReLU whose slope is a variable."""

    def init(self, key):
        variables = super().init(key)
        return {**variables, "batch_stats": {**variables["batch_stats"], "slope": jnp.ones(())}}

    def loss(self, params, batch_stats, batch, key, positions, hyper):
        slope = batch_stats["slope"]
        batch = {"x": jnp.where(batch["x"] > 0, batch["x"], slope * batch["x"])}
        loss, (moved, sums) = super().loss(params, batch_stats, batch, key, positions, hyper)
        return loss, ({**moved, "slope": slope}, {**sums, "slope": (slope, jnp.float32(1))})


def test_a_statistic_named_like_a_scalar_is_the_scalar_in_loss_state_and_average():
    """Over three micro-batches, whose mean is not exact, and a decay, which would lag behind."""
    task = SlopedTask()
    variables = task.init(jax.random.key(0))
    optimizer = make_optimizer(optim(), variables["params"])
    state = create_state(variables, optimizer.tx, ema=True)
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.9))
    rng = np.random.default_rng(0)
    for slope in (0.0, 0.1, 0.7, 1.0):
        batch = {"x": rng.normal(1, 2, (3, 16, 3)).astype(np.float32)}
        hyper = {"lr": np.float32(0.1), "slope": np.float32(slope)}
        state, seen = step(state, batch, hyper)
        total, count = seen["mean"]["slope"]
        assert float(total / count) == pytest.approx(slope, rel=1e-6)
        assert state.batch_stats["slope"] == state.ema["batch_stats"]["slope"] == np.float32(slope)
