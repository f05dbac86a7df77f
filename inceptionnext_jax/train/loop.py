"""The training loop: resume or start, step, log, evaluate, save, stop when asked."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.runtime.memory import release_freed_memory
from inceptionnext_jax.runtime.multihost import exit_together
from inceptionnext_jax.runtime.preemption import EXIT_CODE, PreemptionGuard
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.evaluate import Evaluator, HostBatch, StoppedError
from inceptionnext_jax.train.nans import naming_the_operation
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.out_of_memory import explaining_memory
from inceptionnext_jax.train.plan import Plan
from inceptionnext_jax.train.prefetch import Feed, scalars_like
from inceptionnext_jax.train.profile import Profiler
from inceptionnext_jax.train.progress import Reporter
from inceptionnext_jax.train.recorder import Recorder
from inceptionnext_jax.train.schedule import make_schedule
from inceptionnext_jax.train.start import Start
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.step import make_train_step
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.workdir.description import changed_keys, check_resumable, write_config
from inceptionnext_jax.workdir.folder import DONE, Workdir, mark_done
from inceptionnext_jax.workdir.writers import open_writers

PUBLISHED_EVERY_SECONDS = 60  # logs in a bucket, besides at every evaluation and checkpoint

OpenTraining = Callable[[int], AbstractContextManager[Iterator[HostBatch]]]


@dataclass(frozen=True)
class Run:
    """All that a run is made of."""

    config: ConfigDict
    plan: Plan
    task: Task
    mesh: Mesh
    workdir: Workdir
    open_training: OpenTraining  # first step (0-based) -> this process's batches, one a step
    evaluator: Evaluator
    description: dict[str, Any]  # goes into config.json and every checkpoint
    reporter: Reporter


@dataclass
class Best:
    """The best evaluation so far, and how many came after it."""

    value: float | None = None
    since: int = 0

    def exhausted(self, config: ConfigDict) -> bool:
        """Whether `stop.patience` evaluations have brought nothing better."""
        return config.stop.patience is not None and self.since >= config.stop.patience

    def update(self, value: float, lower_is_better: bool) -> None:
        better = self.value is None or (
            value < self.value if lower_is_better else value > self.value
        )
        self.value, self.since = (value, 0) if better else (self.value, self.since + 1)


def train(run: Run) -> int:
    """Trains to the plan's last step, from the newest checkpoint if there is one.

    Returns 0 when training has finished, 75 when it was asked to stop and has saved.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(PreemptionGuard())
        checkpoints = Checkpoints(
            run.workdir.path,
            keep_latest=run.config.checkpoint.keep_latest,
            keep_best=run.config.checkpoint.keep_best,
            best_metric=run.config.checkpoint.best_metric,
            higher_is_better=not run.config.checkpoint.best_metric.endswith("/loss"),
            asynchronous=run.config.checkpoint.asynchronous,
        )
        stack.callback(checkpoints.close)
        latest = checkpoints.latest_step()
        meta = _resumed_meta(run, checkpoints, latest)
        best = Best(**meta.get("best", {}))
        reached = latest or 0
        over = reached >= run.plan.total_steps or best.exhausted(run.config)
        if over and not meta.get("evaluation_pending"):
            _finish(run, reached)
            return 0
        memory = run.description["resolved"]["memory"]
        # Within the stack: what it closes may wait for processes that have gone.
        with exit_together(), explaining_memory(run.config, run.plan, memory):
            return _Training(run, checkpoints, latest, meta, best, stop, stack).run()


def _resumed_meta(run: Run, checkpoints: Checkpoints, latest: int | None) -> dict[str, Any]:
    """The newest checkpoint's meta; checks that its config and this one may belong together."""
    if latest is None:
        return {}
    meta = checkpoints.meta(latest)
    changes = changed_keys(meta["config"], run.description["config"])
    check_resumable(changes, run.workdir.path)
    for key, (before, now) in changes.items():
        run.reporter.say(f"changed since step {latest}: {key} {before!r} → {now!r}")
    return meta


def _finish(run: Run, step: int) -> None:
    if jax.process_index() == 0:
        mark_done(run.workdir.logs, step)
    run.reporter.say(f"done: step {step} of {run.plan.total_steps} in {run.workdir.path}")


class _Training:
    """The loop's working parts, opened in order and closed by `stack`."""

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        latest: int | None,
        meta: dict[str, Any],
        best: Best,
        stop: PreemptionGuard,
        stack: ExitStack,
    ):
        self.run_, self.checkpoints, self.stop = run, checkpoints, stop
        config, plan = run.config, run.plan
        main = jax.process_index() == 0
        if main:
            (run.workdir.logs / DONE).unlink(missing_ok=True)
            write_config(run.workdir.logs, run.description)
        self.start = latest or 0
        self.best = best
        self.evaluation_pending = meta.get("evaluation_pending", False)
        self.schedule = make_schedule(plan.schedule)
        self.state, self.step = self._open_state(latest)
        writers = open_writers(
            run.workdir.logs, self.start, config.log, run.description["config"], main=main
        )
        stack.callback(writers.close)
        self.recorder = Recorder(
            plan,
            writers,
            run.reporter,
            every_steps=config.log.every_steps,
            skips_allowed=config.skip_limit if config.on_nan == "skip" else 0,
            sums=meta.get("sums"),
            skipped_in_a_row=meta.get("skipped_in_a_row", 0),
        )
        self.recorder.last_saved = latest
        self.profiler = Profiler(run.workdir.logs, config.profile, main)
        stack.callback(self.profiler.close)
        batches = stack.enter_context(run.open_training(self.start))
        shape = (plan.accumulate, plan.micro_batch)
        self.feed = Feed(batches, lambda batch: meshes.to_device(batch, run.mesh, shape))
        stack.callback(self.feed.close)
        stack.callback(run.reporter.stop)

    def _open_state(self, latest: int | None) -> tuple[TrainState, Any]:
        """The state at the start, and the jitted step."""
        run, config = self.run_, self.run_.config
        shapes = jax.eval_shape(run.task.init, jax.random.key(0))
        optimizer = make_optimizer(config.optim, shapes["params"], config.model.name)
        start = Start(
            run.task, run.mesh, optimizer.tx, seed=config.seed, ema=config.ema_decay is not None
        )
        if latest is not None:
            state = start.resumed(self.checkpoints, latest)
        elif config.init_from:
            state = start.from_weights(
                config.init_from, config.model, run.reporter.say, run.description["class_names"]
            )
        else:
            state = start.fresh()
        step = make_train_step(run.task, optimizer, seed=config.seed, ema_decay=config.ema_decay)
        everywhere = meshes.replicated(run.mesh)
        jitted = jax.jit(
            step,
            in_shardings=(start.shardings, meshes.batch_sharding(run.mesh), everywhere),
            out_shardings=(start.shardings, everywhere),
            # To find a NaN the step is gone through once more.
            donate_argnums=() if config.debug_nans else 0,
        )
        return state, naming_the_operation(jitted, step) if config.debug_nans else jitted

    def run(self) -> int:
        plan, reporter = self.run_.plan, self.run_.reporter
        reporter.say(f"resumed from step {self.start}" if self.start else "started from step 0")
        done = self.start
        if done < plan.total_steps:
            batch = next(self.feed)
            step = self._compiled(batch)
        reporter.start("training", plan.total_steps, self.start)
        self.stop.begin_work()
        if self.stop.should_stop() or not self._caught_up():
            reporter.say(f"stopped by {self.stop} at step {self.start}, which is saved")
            return EXIT_CODE
        self.recorder.clock.resume()
        for done in range(self.start + 1, plan.total_steps + 1):
            hyper = self._hyper(done - 1)
            self.profiler.before(done)
            self.state, metrics = step(self.state, batch, self._scalars(hyper))
            self.recorder.settle(self.feed)  # the step before, while this one computes
            self.checkpoints.check()
            self.recorder.add(done, metrics, hyper)
            self.profiler.after(done, metrics)
            self.run_.workdir.publish(after_seconds=PUBLISHED_EVERY_SECONDS)
            if self._pause_after(done):
                return EXIT_CODE
            if self.best.exhausted(self.run_.config):
                reporter.say(f"stopped at step {done}: no better evaluation in {self.best.since}")
                break
            if done < plan.total_steps:
                batch = next(self.feed)
        self.checkpoints.wait()
        reporter.stop()
        _finish(self.run_, done)
        return 0

    def _caught_up(self) -> bool:
        """Makes up for an evaluation that a stop prevented. Returns whether it came to its end."""
        if not self.evaluation_pending:
            return True
        scores = self._evaluate(self.start)
        if scores is not None:
            self.recorder.write(self.start, scores)
        return scores is not None

    def _compiled(self, batch: Any) -> Callable[..., tuple[TrainState, Any]]:
        """Compiles ahead of time: another shape would be an error instead of a slow step."""
        if self.run_.config.debug_nans:
            return self.step
        started = time.perf_counter()
        hyper = self._hyper(self.start)
        compiled = self.step.lower(self.state, batch, self._scalars(hyper)).compile()
        self.run_.reporter.say(f"compiled in {time.perf_counter() - started:.1f} s")
        return compiled

    def _hyper(self, step: int) -> dict[str, float]:
        """What the host decides for the update after `step` of them."""
        return {"lr": self.schedule(step), **self.run_.task.hyper(step, self.run_.plan)}

    def _scalars(self, hyper: dict[str, float]) -> dict[str, Any]:
        wide = self.run_.config.compute_dtype == "float64"
        return scalars_like(hyper, np.float64 if wide else np.float32)

    def _pause_after(self, done: int) -> bool:
        """Evaluates and saves where it is due. Returns whether the run was asked to stop."""
        config, last = self.run_.config, done == self.run_.plan.total_steps
        stopping = self.stop.should_stop() and not last
        due = _due(done, config.eval.every_steps) or last
        saves = _due(done, config.checkpoint.every_steps) or last or stopping
        if not (due or saves):
            return False
        scores: dict[str, float] | None = {}

        def evaluate() -> dict[str, float]:
            nonlocal scores
            self.recorder.clock.pause()
            scores = self._evaluate(done)
            self.recorder.clock.resume()
            return scores or {}

        # An evaluation can take minutes that a preempted machine does not have: the resumed run
        # makes up for it.
        self.recorder.settle(self.feed, evaluate if due and not stopping else None)
        stopping = stopping or scores is None
        self.recorder.clock.pause()
        # Before the step: who goes on from it needs its lines.
        self.run_.workdir.publish()
        if saves or stopping or self.best.exhausted(config):
            self.checkpoints.save(self.state, done, self._meta(done, due and stopping), scores)
            self.recorder.last_saved = done
        if stopping:
            self.checkpoints.wait()
            self.run_.reporter.say(f"stopped by {self.stop} after saving step {done}")
        release_freed_memory()
        self.recorder.clock.resume()
        return stopping

    def _evaluate(self, step: int) -> dict[str, float] | None:
        """Scores of the weights and their averages; None where the run was asked to stop."""
        try:
            scores, report = evaluate_weights(
                self.run_,
                self.state.weights(),
                self.state.weights(ema=True),
                stopping=self.stop.should_stop,
            )
        except StoppedError:
            return None
        if jax.process_index() == 0:
            self.run_.task.save_report({"step": step, **report}, self.run_.workdir.logs)
        metric = self.run_.config.checkpoint.best_metric
        self.best.update(scores[metric], metric.endswith("/loss"))
        return scores

    def _meta(self, step: int, evaluation_pending: bool) -> dict[str, Any]:
        return {
            **self.run_.description,
            "step": step,
            "evaluation_pending": evaluation_pending,
            "sums": self.recorder.sums,
            "skipped_in_a_row": self.recorder.skipped_in_a_row,
            "best": {"value": self.best.value, "since": self.best.since},
        }


def _due(step: int, every_steps: int) -> bool:
    return every_steps > 0 and step % every_steps == 0


def evaluate_weights(
    run: Run, weights: Any, averages: Any | None, stopping: Callable[[], bool] | None = None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Evaluates variables on the run's mesh, and their averages where there are any.

    Returns ({"eval/top1": …, "eval_ema/top1": …}, {"eval": report, "eval_ema": report}).
    Raises StoppedError where `stopping`, asked before each batch, says yes.
    """
    scores: dict[str, float] = {}
    reports: dict[str, Any] = {}
    for name, variables in (("eval", weights), ("eval_ema", averages)):
        if variables is not None:
            scalars, reports[name] = run.task.summarize(run.evaluator(variables, stopping))
            scores |= {f"{name}/{key}": value for key, value in scalars.items()}
    return scores, reports
