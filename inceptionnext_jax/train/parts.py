"""The working parts of the training loop, opened before the first step."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import jax

from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.init_state import InitialState
from inceptionnext_jax.train.nans import naming_the_operation
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.prefetch import Prefetcher
from inceptionnext_jax.train.profile import Profiler
from inceptionnext_jax.train.recorder import Recorder
from inceptionnext_jax.train.resume import Resumed
from inceptionnext_jax.train.run import Run
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.step import make_train_step
from inceptionnext_jax.workdir.description import write_config
from inceptionnext_jax.workdir.folder import DONE
from inceptionnext_jax.workdir.writers import open_writers


@dataclass
class Parts:
    """Working parts of the loop.

    Attributes:
      step: Jitted (state, batch, scalars) -> (state, metrics).
      batches: Shapes, dtypes and shardings of each kind of batch that may come.
    """

    step: Callable[..., Any]
    recorder: Recorder
    profiler: Profiler
    prefetcher: Prefetcher
    batches: list[Any]


def open_parts(
    run: Run, checkpoints: Checkpoints, resumed: Resumed, stack: ExitStack
) -> tuple[TrainState, Parts]:
    """The state before the first step, and the parts, opened in order; `stack` closes them."""
    config, plan, logs = run.config, run.plan, run.workdir.logs
    on_main = jax.process_index() == 0
    if on_main:
        (logs / DONE).unlink(missing_ok=True)
        write_config(logs, run.description)
    state, step = _open_state(run, checkpoints, resumed)
    writers = open_writers(logs, resumed.step, config.log, run.description["config"], main=on_main)
    stack.callback(writers.close)
    recorder = Recorder(
        plan,
        writers,
        run.reporter,
        run.task.metrics,
        every_steps=config.log.every_steps,
        skips_allowed=config.skip_limit if config.on_nan == "skip" else 0,
        sums=resumed.sums,
        skipped_in_a_row=resumed.skipped_in_a_row,
    )
    recorder.last_saved = resumed.saved
    profiler = stack.enter_context(closing(Profiler(logs, config.profile, on_main)))
    batches = stack.enter_context(run.open_training(resumed.step))
    shape = (plan.accumulate, plan.micro_batch)
    prefetcher = stack.enter_context(
        closing(Prefetcher(batches, lambda batch: meshes.to_device(batch, run.mesh, shape)))
    )
    stack.callback(run.reporter.stop)
    abstract = [meshes.abstract_batch(spec, run.mesh, shape) for spec in batches.specs]
    return state, Parts(step, recorder, profiler, prefetcher, abstract)


def _open_state(
    run: Run, checkpoints: Checkpoints, resumed: Resumed
) -> tuple[TrainState, Callable[..., Any]]:
    """The state at the start, and the jitted step."""
    config = run.config
    shapes = jax.eval_shape(run.task.init, jax.random.key(0))
    optimizer = make_optimizer(config.optim, shapes["params"], config.model.name, run.task.body)
    initial = InitialState(
        run.task, run.mesh, optimizer.tx, seed=config.seed, ema=config.ema_decay is not None
    )
    if resumed.saved is not None:
        state = initial.resumed(checkpoints, resumed.saved)
    elif config.init_from:
        state = initial.from_weights(config.init_from, config.model, run.reporter.say)
    else:
        state = initial.fresh()
    step = make_train_step(run.task, optimizer, seed=config.seed, ema_decay=config.ema_decay)
    everywhere = meshes.replicated(run.mesh)
    jitted = jax.jit(
        step,
        in_shardings=(initial.shardings, meshes.batch_sharding(run.mesh), everywhere),
        out_shardings=(initial.shardings, everywhere),
        # To find a NaN the step is gone through once more.
        donate_argnums=() if config.debug_nans else 0,
    )
    return state, naming_the_operation(jitted, step) if config.debug_nans else jitted
