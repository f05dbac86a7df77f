"""Scalars that enter a step from the host, and averages that leave it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.tasks.classification.task import Classification
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.train.step import StepScalars, make_train_step
from inceptionnext_jax.train.task import Aux
from tests.runs import metrics, run
from tests.train.test_optimizer import optim


def test_a_tasks_scalars_reach_the_loss_and_the_log(tmp_path, monkeypatch):
    """As the slope of an activation that rises over the run."""
    plain_loss = Classification.loss

    def loss(self, variables, batch, key, positions):
        mean, aux = plain_loss(self, variables, batch, key, positions)
        slope = variables["host"]["slope"]
        return mean, Aux(aux.batch_stats, {**aux.sums, "seen": (slope, jnp.ones_like(slope))})

    monkeypatch.setattr(Classification, "host_scalars", lambda self, step: {"slope": step / 4})
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

    def loss(self, variables, batch, key, positions):
        params, batch_stats = variables["params"], variables["batch_stats"]
        y = batch["x"] @ params["kernel"]
        mean, var = y.mean(0), y.var(0)
        moved = {"mean": 0.9 * batch_stats["mean"] + 0.1 * mean,
                 "var": 0.9 * batch_stats["var"] + 0.1 * var * len(y) / (len(y) - 1)}  # fmt: skip
        loss = jnp.square((y - mean) / jnp.sqrt(var + 1e-5) * params["scale"] - 1).mean()
        return loss, Aux(moved, {"loss": (loss, jnp.float32(1))})


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
        state, _ = step(state, batch, StepScalars(np.float32(0.1), {}))
        copy_into_model(state.weights())
        reference.update(model)
    for name, (kind, leaf) in names.items():
        wanted = reference.module.state_dict()[name].numpy().T
        assert abs(state.ema[kind][leaf] - wanted).max() < 1e-5 * abs(wanted).max(), name
        assert abs(state.ema[kind][leaf] - state.weights()[kind][leaf]).max() > 1e-2, name


class SlopedTask(TinyTask):
    """The same with a leaky ReLU whose slope is a variable of the host."""

    def init(self, key):
        return {**super().init(key), "host": {"slope": jnp.ones(())}}

    def loss(self, variables, batch, key, positions):
        slope = variables["host"]["slope"]
        batch = {"x": jnp.where(batch["x"] > 0, batch["x"], slope * batch["x"])}
        loss, aux = super().loss(variables, batch, key, positions)
        return loss, Aux(aux.batch_stats, {**aux.sums, "slope": (slope, jnp.float32(1))})


def test_host_variables_are_the_hosts_scalars_in_loss_state_and_average():
    """Over three micro-batches, whose mean is not exact, and a decay, which would lag behind."""
    task = SlopedTask()
    variables = task.init(jax.random.key(0))
    optimizer = make_optimizer(optim(), variables["params"])
    state = create_state(variables, optimizer.tx, ema=True)
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.9))
    rng = np.random.default_rng(0)
    for slope in (0.0, 0.1, 0.7, 1.0):
        batch = {"x": rng.normal(1, 2, (3, 16, 3)).astype(np.float32)}
        scalars = StepScalars(np.float32(0.1), {"slope": np.float32(slope)})
        state, seen = step(state, batch, scalars)
        total, count = seen["mean"]["slope"]
        assert float(total / count) == pytest.approx(slope, rel=1e-5)
        assert state.host["slope"] == state.ema["host"]["slope"] == np.float32(slope)
