"""One optimizer step as one pure function: micro-batches, gradient, clipping, update, average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from inceptionnext_jax.train.optimizer import Optimizer
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.task import Aux, Task
from inceptionnext_jax.types import PyTree, Variables


class StepScalars(NamedTuple):
    """Scalars that the host decides for one update.

    Attributes:
      lr: The learning rate.
      host: `Task.host_scalars`.
    """

    lr: Any
    host: dict[str, Any]


Metrics = dict[str, Any]
Step = Callable[[TrainState, PyTree, StepScalars], tuple[TrainState, Metrics]]


def step_keys(seed: int, step: Any) -> tuple[jax.Array, jax.Array]:
    """(key for the augmentation, key for the loss) of the update that follows `step` others."""
    augment_key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return augment_key, loss_key


def make_train_step(
    task: Task, optimizer: Optimizer, *, seed: int, ema_decay: float | None
) -> Step:
    """Returns step(state, batch, scalars) -> (state, metrics); jit it with a donated state.

    batch: arrays [accumulate, micro_batch, ...]. metrics: "mean" holds (sum, count) pairs to be
    averaged, "last" plain scalars.
    All randomness is a function of (seed, state.step, position in the global batch).
    """

    def step(state: TrainState, batch: PyTree, scalars: StepScalars) -> tuple[TrainState, Metrics]:
        keys = step_keys(seed, state.step)
        gradient, aux = _accumulated(task, _variables(state, scalars.host), batch, keys)
        gradient = _without_frozen(gradient, optimizer.rate_factors)
        norm = optax.tree.norm(gradient)
        if optimizer.clip_norm is not None:
            # torch's clip_grad_norm_, its 1e-6 included.
            scale = jnp.minimum(1.0, optimizer.clip_norm / (norm + 1e-6))
            gradient = jax.tree.map(lambda g: g * scale, gradient)
        new = _updated(state, optimizer, gradient, aux.batch_stats, scalars, ema_decay)
        finite = jnp.isfinite(norm)
        for total, _ in aux.sums.values():
            finite &= jnp.isfinite(total).all()
        new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
        new = new.replace(step=state.step + 1, skipped=state.skipped + jnp.logical_not(finite))
        last = {
            "grad_norm": norm,
            "param_norm": optax.tree.norm(new.params),
            "skipped_steps": new.skipped,
            "finite": finite,
        }
        return new, {"mean": aux.sums, "last": last}

    return step


def _variables(state: TrainState, host: dict[str, Any]) -> Variables:
    """The variables of an update's loss: the state's weights with the host's scalars."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    host = {**host, **_host_variables(state, host)}
    return {**variables, "host": host} if host else variables


def _host_variables(state: TrainState, host: dict[str, Any]) -> dict[str, Any]:
    """The model's variables that the host sets, with its values for this update.

    They are exactly the host's, never a mean or an average: so weights are saved, evaluated and
    averaged together with the values that they were trained with.
    """
    return {
        name: host[name].astype(leaf.dtype) if name in host else leaf
        for name, leaf in state.host.items()
    }


def _without_frozen(gradient: PyTree, rate_factors: PyTree) -> PyTree:
    """Zeros for frozen parameters, as in torch, where norms do not see them."""
    return jax.tree.map(
        lambda g, factor: g if np.all(factor) else jnp.where(np.not_equal(factor, 0), g, 0),
        gradient,
        rate_factors,
    )


def _updated(
    state: TrainState,
    optimizer: Optimizer,
    gradient: PyTree,
    batch_stats: PyTree,
    scalars: StepScalars,
    ema_decay: float | None,
) -> TrainState:
    direction, opt_state = optimizer.tx.update(gradient, state.opt_state, state.params)
    params = jax.tree.map(
        lambda p, d, factor: p + (scalars.lr * factor * d).astype(p.dtype) if np.any(factor) else p,
        state.params,
        direction,
        optimizer.rate_factors,
    )
    host = _host_variables(state, scalars.host)
    new = state.replace(params=params, batch_stats=batch_stats, host=host, opt_state=opt_state)
    if ema_decay is None:
        return new
    average = jax.tree.map(
        lambda e, m: ema_decay * e + (1 - ema_decay) * m, state.ema, new.weights()
    )
    return new.replace(ema={**average, "host": host} if host else average)


def _accumulated(
    task: Task, variables: Variables, batch: PyTree, keys: tuple[jax.Array, jax.Array]
) -> tuple[PyTree, Aux]:
    """Mean gradient, mean running statistics and summed metrics over the micro-batches.

    Each micro-batch starts from the same statistics, so their mean has moved once, by the mean
    over all groups.
    """
    augment_key, loss_key = keys
    accumulate, micro_batch = jax.tree.leaves(batch)[0].shape[:2]

    def micro(index: Any, examples: PyTree) -> tuple[PyTree, Aux]:
        positions = index * micro_batch + jnp.arange(micro_batch, dtype=jnp.int32)
        examples = task.augment(augment_key, examples, positions)
        loss = lambda params: task.loss(  # noqa: E731
            {**variables, "params": params}, examples, loss_key, positions
        )
        (_, aux), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return gradient, aux

    if accumulate == 1:
        return micro(0, jax.tree.map(lambda a: a[0], batch))
    shapes = jax.eval_shape(micro, 0, jax.tree.map(lambda a: a[0], batch))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: PyTree, indexed: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, micro(*indexed)), None

    (gradient, aux), _ = jax.lax.scan(add, zeros, (jnp.arange(accumulate), batch))
    mean = lambda tree: jax.tree.map(lambda leaf: leaf / accumulate, tree)  # noqa: E731
    return mean(gradient), Aux(mean(aux.batch_stats), aux.sums)
