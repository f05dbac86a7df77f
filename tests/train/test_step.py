"""The optimizer step: micro-batches, statistics, clipping, averages, bad numbers, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.cli import job
from inceptionnext_jax.tasks.classification import build
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.init_state import InitialState
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.train.step import StepScalars, make_train_step
from tests.runs import small_config

BATCH = 32


def parts(devices: int = 1, **changes):
    """(task, optimizer, plan) of a small run."""
    changes = {"model.bn_group_size": 8, "augment.mix_group_size": 8, **changes}
    config = small_config(**changes)
    dataset = build.open_data(config)
    built = build.build(config, dataset)
    task, plan = built.task, job.make_plan(config, dataset, built, devices)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return task, make_optimizer(config.optim, shapes["params"]), plan


def images(accumulate: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = {
        "image": rng.integers(0, 256, (BATCH, 32, 32, 3), np.uint8),
        "label": rng.integers(0, 10, BATCH, np.int32),
    }
    return jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), batch)


def one_step(accumulate: int = 1, ema_decay=None, batch=None, lr=1e-3, steps=1, **changes):
    task, optimizer, _ = parts(**{"optim.accumulate": accumulate, **changes})
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=ema_decay))
    state = create_state(jax.jit(task.init)(jax.random.key(1)), optimizer.tx, ema_decay is not None)
    start = state
    for _ in range(steps):
        state, metrics = step(state, batch or images(accumulate), StepScalars(np.float32(lr), {}))
    return start, state, metrics


def largest_difference(one, other) -> float:
    differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)
    return max(jax.tree.leaves(differences))


def test_accumulation_changes_nothing_but_rounding():
    """Drop path is on: its masks follow the position in the global batch, too."""
    _, whole, metrics = one_step(1)
    _, split, split_metrics = one_step(4)
    assert largest_difference(whole.batch_stats, split.batch_stats) < 1e-5
    loss, split_loss = (
        float(m["mean"]["loss"][0] / m["mean"]["loss"][1]) for m in (metrics, split_metrics)
    )
    assert loss == pytest.approx(split_loss, rel=1e-5)
    norms = [float(m["last"]["grad_norm"]) for m in (metrics, split_metrics)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    moment, split_moment = whole.opt_state[0].mu, split.opt_state[0].mu
    assert largest_difference(moment, split_moment) < 1e-4 * norms[0]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_running_statistics_move_once_by_the_mean_over_groups(accumulate):
    """The stem's BatchNorm against a plain numpy statement of the promise."""
    batch = images(accumulate)
    start, state, _ = one_step(accumulate, batch=batch)
    task, _, _ = parts()
    before, images_ = task.preprocessing, batch["image"].reshape(BATCH, 32, 32, 3)
    pixels = np.asarray(normalize(images_, before.mean, before.std, np.float32), np.float64)
    kernel = np.asarray(start.params["stem"]["conv"]["kernel"], np.float64)
    bias = np.asarray(start.params["stem"]["conv"]["bias"], np.float64)
    patches = pixels.reshape(BATCH, 8, 4, 8, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    out = np.einsum("nhwijc,ijco->nhwo", patches, kernel) + bias
    groups = out.reshape(BATCH // 8, -1, out.shape[-1])
    mean, variance = groups.mean(axis=1), groups.var(axis=1, ddof=1)
    stats = state.batch_stats["stem"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance.mean(axis=0), rtol=1e-4)


def test_average_covers_parameters_and_running_statistics():
    start, state, _ = one_step(ema_decay=0.9, steps=2)
    _, first, _ = one_step(ema_decay=0.9, steps=1)
    wanted = jax.tree.map(
        lambda a, b, c: 0.81 * a + 0.09 * b + 0.1 * c,
        start.weights(), first.weights(), state.weights(),
    )  # fmt: skip
    assert largest_difference(state.ema, wanted) < 1e-5
    assert largest_difference(state.ema["batch_stats"], start.batch_stats) > 1e-3


def test_clipping_equals_torchs():
    import torch

    task, optimizer, _ = parts(**{"optim.clip_norm": 0.5})
    # With SGD as the direction the update is the clipped gradient itself.
    sgd = optimizer._replace(tx=optax.scale(-1.0))
    state = create_state(jax.jit(task.init)(jax.random.key(1)), sgd.tx, False)
    step = jax.jit(make_train_step(task, sgd, seed=0, ema_decay=None))
    free = jax.jit(make_train_step(task, sgd._replace(clip_norm=None), seed=0, ema_decay=None))
    clipped, _ = step(state, images(), StepScalars(np.float32(1), {}))
    full, metrics = free(state, images(), StepScalars(np.float32(1), {}))
    gradient = [np.asarray(a - b) for a, b in zip(*map(jax.tree.leaves, (state.params, full.params)), strict=True)]  # fmt: skip  # noqa: E501
    parameters = [torch.nn.Parameter(torch.zeros(g.shape)) for g in gradient]
    for parameter, g in zip(parameters, gradient, strict=True):
        parameter.grad = torch.tensor(g)
    norm = torch.nn.utils.clip_grad_norm_(parameters, 0.5)
    assert float(norm) == pytest.approx(float(metrics["last"]["grad_norm"]), rel=1e-4)
    assert float(norm) > 0.5
    ours = [np.asarray(a - b) for a, b in zip(*map(jax.tree.leaves, (state.params, clipped.params)), strict=True)]  # fmt: skip  # noqa: E501
    for parameter, mine in zip(parameters, ours, strict=True):
        np.testing.assert_allclose(mine, parameter.grad.numpy(), atol=1e-5)


def test_a_frozen_parameter_stays_as_it_is():
    start, state, _ = one_step(**{"optim.freeze": "^stem/"})
    assert largest_difference(start.params["stem"], state.params["stem"]) == 0
    assert largest_difference(start.params["head"], state.params["head"]) > 0


def test_a_step_with_bad_numbers_changes_nothing_but_the_counts():
    task, optimizer, _ = parts()
    state = create_state(jax.jit(task.init)(jax.random.key(1)), optimizer.tx, True)
    broken = state.replace(
        params={**state.params, "head": jax.tree.map(lambda a: a * jnp.nan, state.params["head"])}
    )
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.9))
    after, metrics = step(broken, images(), StepScalars(np.float32(1e-3), {}))
    assert not metrics["last"]["finite"]
    assert (int(after.step), int(after.skipped)) == (1, 1)
    jax.tree.map(
        np.testing.assert_array_equal,
        (after.params, after.batch_stats, after.opt_state, after.ema),
        (broken.params, broken.batch_stats, broken.opt_state, broken.ema),
    )


def run_on_mesh(devices: int, fsdp: int, steps: int = 3, **changes):
    """Losses of a few steps on so many devices, and the statistics after the last.

    A bias before BatchNorm has no gradient but rounding, which Adam enlarges unless eps is above.
    """
    task, optimizer, plan = parts(devices, **{"mesh.fsdp": fsdp, "optim.eps": 1e-3, **changes})
    mesh = jax.make_mesh(
        (devices // fsdp, fsdp), ("data", "fsdp"), devices=jax.devices()[:devices],
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )  # fmt: skip
    start = InitialState(task, mesh, optimizer.tx, seed=3, ema=False)
    everywhere = meshes.replicated(mesh)
    step = jax.jit(
        make_train_step(task, optimizer, seed=3, ema_decay=None),
        in_shardings=(start.shardings, meshes.batch_sharding(mesh), everywhere),
        out_shardings=(start.shardings, everywhere),
        donate_argnums=0,
    )
    state, losses = start.fresh(), []
    for i in range(steps):
        batch = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), images(1, seed=i))
        batch = meshes.to_device(batch, mesh, (plan.accumulate, plan.micro_batch))
        state, metrics = step(state, batch, StepScalars(np.float32(1e-3), {}))
        losses.append(float(metrics["mean"]["loss"][0] / metrics["mean"]["loss"][1]))
    assert step._cache_size() == 1  # one compilation
    return losses, jax.device_get(state.batch_stats)


@pytest.mark.parametrize(
    ("group", "fsdp"),
    [(0, 2), (4, 1), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0, 1), (4, 2)))],
)
def test_eight_devices_give_the_losses_of_one(group, fsdp):
    """Global BatchNorm (0) and groups that lie within the shards (4); drop path is on."""
    changes = {"model.bn_group_size": group, "model.drop_path_rate": 0.3}
    one, stats = run_on_mesh(1, 1, **changes)
    losses, sharded_stats = run_on_mesh(8, fsdp, **changes)
    np.testing.assert_allclose(losses, one, rtol=1e-5)
    assert largest_difference(stats, sharded_stats) < 1e-5


def test_large_arrays_are_split_over_fsdp_and_moments_lie_as_their_parameters():
    task, optimizer, _ = parts(8, **{"mesh.fsdp": 2})
    mesh = meshes.make_mesh(4, 2)
    state = InitialState(task, mesh, optimizer.tx, seed=0, ema=True).fresh()
    kernel = state.params["head"]["fc1"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 2
    assert state.opt_state[0].mu["head"]["fc1"]["kernel"].sharding == kernel.sharding
    assert state.ema["params"]["head"]["fc1"]["kernel"].sharding == kernel.sharding
    assert state.params["stem"]["norm"]["scale"].sharding.is_fully_replicated


def test_the_same_seed_gives_the_same_start_on_any_mesh():
    task, optimizer, _ = parts(8)
    states = [
        jax.device_get(
            InitialState(
                task, meshes.make_mesh(data, fsdp), optimizer.tx, seed=5, ema=False
            ).fresh()
        )
        for data, fsdp in ((8, 1), (2, 4))
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_local_positions_cover_the_global_batch_once():
    mesh = meshes.make_mesh(4, 2)
    positions = meshes.local_positions(mesh, 3, 16)
    np.testing.assert_array_equal(np.sort(positions), np.arange(48))
    batch = {"x": positions}
    placed = meshes.to_device(batch, mesh, (3, 16))["x"]
    np.testing.assert_array_equal(placed, np.arange(48).reshape(3, 16))


def test_a_frozen_gradient_counts_in_no_norm():
    _, state, metrics = one_step(**{"optim.freeze": "^(stem|stages)"})
    moment = state.opt_state[0].mu  # a tenth of the gradient
    assert all(not leaf.any() for leaf in jax.tree.leaves((moment["stem"], moment["stages_3"])))
    norm_of_head = 10 * float(optax.tree.norm(moment["head"]))
    assert float(metrics["last"]["grad_norm"]) == pytest.approx(norm_of_head, rel=1e-5)
    assert norm_of_head > 0
