"""One optimizer step as one pure function: micro-batches, gradient, clipping, update, average."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from inceptionnext_jax.train.optimizer import Optimizer
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.task import Task

Metrics = dict[str, Any]
Step = Callable[[TrainState, Any, dict[str, Any]], tuple[TrainState, Metrics]]


def step_keys(seed: int, step: Any) -> tuple[jax.Array, jax.Array]:
    """(key for the augmentation, key for the loss) of the update that follows `step` others."""
    augment_key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return augment_key, loss_key


def make_train_step(
    task: Task, optimizer: Optimizer, *, seed: int, ema_decay: float | None
) -> Step:
    """Returns step(state, batch, hyper) -> (state, metrics); jit it with a donated state.

    batch: arrays [accumulate, micro_batch, ...]. hyper: scalars that the host decides, among them
    "lr". metrics: "mean" holds (sum, count) pairs to be averaged, "last" plain scalars.
    All randomness is a function of (seed, state.step, position in the global batch).
    """

    def step(state: TrainState, batch: Any, hyper: dict[str, Any]) -> tuple[TrainState, Metrics]:
        keys = step_keys(seed, state.step)
        told = state.replace(batch_stats=_as_told(state.batch_stats, hyper))
        gradient, batch_stats, sums = _accumulated(task, told, batch, keys, hyper)
        batch_stats = _as_told(batch_stats, hyper)  # exactly, whatever a mean has rounded
        gradient = _without_frozen(gradient, optimizer.rate_factors)
        norm = optax.tree.norm(gradient)
        if optimizer.clip_norm is not None:
            # torch's clip_grad_norm_, its 1e-6 included.
            scale = jnp.minimum(1.0, optimizer.clip_norm / (norm + 1e-6))
            gradient = jax.tree.map(lambda g: g * scale, gradient)
        new = _updated(state, optimizer, gradient, batch_stats, hyper, ema_decay)
        finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"][0])
        new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
        new = new.replace(step=state.step + 1, skipped=state.skipped + jnp.logical_not(finite))
        last = {
            "grad_norm": norm,
            "param_norm": optax.tree.norm(new.params),
            "skipped_steps": new.skipped,
            "finite": finite,
        }
        return new, {"mean": sums, "last": last}

    return step


def _as_told(batch_stats: Any, hyper: dict[str, Any]) -> Any:
    """`batch_stats` in which variables that the host decides have its values.

    They are those named like one of `hyper`, e.g. the slope of VanillaNet's activations: so weights
    are saved, evaluated and averaged together with what they were trained with.
    """
    return {
        name: hyper[name].astype(leaf.dtype) if name in hyper else leaf
        for name, leaf in batch_stats.items()
    }


def _without_frozen(gradient: Any, rate_factors: Any) -> Any:
    """Zeros where nothing is learned, as in torch, where norms do not see frozen parameters."""
    return jax.tree.map(
        lambda g, factor: g if np.all(factor) else jnp.where(np.not_equal(factor, 0), g, 0),
        gradient,
        rate_factors,
    )


def _updated(
    state: TrainState,
    optimizer: Optimizer,
    gradient: Any,
    batch_stats: Any,
    hyper: dict[str, Any],
    ema_decay: float | None,
) -> TrainState:
    direction, opt_state = optimizer.tx.update(gradient, state.opt_state, state.params)
    params = jax.tree.map(
        lambda p, d, factor: (
            p + (hyper["lr"] * factor * d).astype(p.dtype) if np.any(factor) else p
        ),
        state.params,
        direction,
        optimizer.rate_factors,
    )
    new = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state)
    if ema_decay is None:
        return new
    average = jax.tree.map(
        lambda e, m: ema_decay * e + (1 - ema_decay) * m, state.ema, new.weights()
    )
    return new.replace(ema={**average, "batch_stats": _as_told(average["batch_stats"], hyper)})


def _accumulated(
    task: Task,
    state: TrainState,
    batch: Any,
    keys: tuple[jax.Array, jax.Array],
    hyper: dict[str, Any],
) -> tuple[Any, Any, Any]:
    """Mean gradient, mean running statistics and summed metrics over the micro-batches.

    Each micro-batch starts from the same statistics, so their mean has moved once, by the mean
    over all groups.
    """
    augment_key, loss_key = keys
    accumulate, micro_batch = jax.tree.leaves(batch)[0].shape[:2]

    def micro(index: Any, images: Any) -> tuple[Any, Any, Any]:
        positions = index * micro_batch + jnp.arange(micro_batch, dtype=jnp.int32)
        images = task.augment(augment_key, images, positions)
        loss = lambda params: task.loss(  # noqa: E731
            params, state.batch_stats, images, loss_key, positions, hyper
        )
        (_, (batch_stats, sums)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        return gradient, batch_stats, sums

    if accumulate == 1:
        return micro(0, jax.tree.map(lambda a: a[0], batch))
    shapes = jax.eval_shape(micro, 0, jax.tree.map(lambda a: a[0], batch))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, indexed: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, micro(*indexed)), None

    (gradient, batch_stats, sums), _ = jax.lax.scan(add, zeros, (jnp.arange(accumulate), batch))
    mean = lambda tree: jax.tree.map(lambda leaf: leaf / accumulate, tree)  # noqa: E731
    return mean(gradient), mean(batch_stats), sums
