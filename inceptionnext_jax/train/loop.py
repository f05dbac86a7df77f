"""The training loop: resume or begin, step, log, evaluate, save, stop when asked."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from inceptionnext_jax.checkpoints.evaluation import Evaluation
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.runtime.memory import release_freed_memory
from inceptionnext_jax.runtime.multihost import exit_together
from inceptionnext_jax.runtime.preemption import EXIT_CODE, PreemptionGuard
from inceptionnext_jax.train.compiled import CompiledStep
from inceptionnext_jax.train.evaluate import StoppedError, evaluate_weights
from inceptionnext_jax.train.out_of_memory import explaining_memory
from inceptionnext_jax.train.parts import Parts, open_parts
from inceptionnext_jax.train.resume import Resumed, read_resumed
from inceptionnext_jax.train.run import Run
from inceptionnext_jax.train.schedule import make_schedule
from inceptionnext_jax.train.state import TrainState
from inceptionnext_jax.train.step import StepScalars
from inceptionnext_jax.workdir.folder import mark_done

PUBLISHED_EVERY_SECONDS = 60  # logs in a bucket, besides at every evaluation and checkpoint


def train(run: Run) -> int:
    """Trains to the plan's last step, from the newest checkpoint if there is one.

    Returns 0 when training has finished, 75 when it was asked to stop and has saved.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(PreemptionGuard())
        section = run.config.checkpoint
        checkpoints = Checkpoints(
            run.workdir.path,
            keep_latest=section.keep_latest,
            keep_best=section.keep_best,
            best_metric=section.best_metric,
            higher_is_better=run.higher_is_better,
            asynchronous=section.asynchronous,
        )
        stack.callback(checkpoints.close)
        resumed = read_resumed(run, checkpoints)
        over = resumed.step >= run.plan.total_steps or resumed.best.exhausted(run.config)
        if over and not resumed.evaluation_pending:
            _finish(run, resumed.step)
            return 0
        # Within the stack: what it closes may wait for processes that have gone.
        with exit_together(), explaining_memory(run.config, run.plan):
            state, parts = open_parts(run, checkpoints, resumed, stack)
            return _Loop(run, checkpoints, resumed, stop, state, parts).train()


def _finish(run: Run, step: int) -> None:
    if jax.process_index() == 0:
        mark_done(run.workdir.logs, step)
    run.reporter.say(f"done: step {step} of {run.plan.total_steps} in {run.workdir.path}")


class _Loop:
    """The steps of a run, with the pauses between them."""

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        resumed: Resumed,
        stop: PreemptionGuard,
        state: TrainState,
        parts: Parts,
    ):
        self.run, self.checkpoints, self.resumed, self.stop = run, checkpoints, resumed, stop
        self.state, self.parts = state, parts
        self.recorder, self.best = parts.recorder, resumed.best
        self.schedule = make_schedule(run.plan.schedule)

    def train(self) -> int:
        """Returns the exit code."""
        prefetcher, profiler = self.parts.prefetcher, self.parts.profiler
        first, last, reporter = self.resumed.step, self.run.plan.total_steps, self.run.reporter
        reporter.say(f"resumed from step {first}" if first else "started from step 0")
        if first < last:
            batch = next(prefetcher)
            step = self._compile()
        reporter.start("training", last, first)
        self.stop.begin_work()
        if self.stop.should_stop() or not self._catch_up():
            reporter.say(f"stopped by {self.stop} at step {first}, which is saved")
            return EXIT_CODE
        self.recorder.clock.resume()
        done = first
        for done in range(first + 1, last + 1):
            scalars = self._scalars(done - 1)
            profiler.before(done)
            self.state, metrics = step(self.state, batch, self._as_arrays(scalars))
            self.recorder.settle(prefetcher)  # the step before, while this one computes
            self.checkpoints.check()
            self.recorder.add(done, metrics, scalars)
            profiler.after(done, metrics)
            self.run.workdir.publish(after_seconds=PUBLISHED_EVERY_SECONDS)
            if self._pause_after(done):
                return EXIT_CODE
            if self.best.exhausted(self.run.config):
                reporter.say(f"stopped at step {done}: no better evaluation in {self.best.since}")
                break
            if done < last:
                batch = next(prefetcher)
        self.checkpoints.wait()
        reporter.stop()
        _finish(self.run, done)
        return 0

    def _catch_up(self) -> bool:
        """Makes up for an evaluation that was not completed. Returns whether it now was."""
        if not self.resumed.evaluation_pending:
            return True
        return self._evaluate(self.resumed.step)

    def _compile(self) -> Callable[..., Any]:
        """Compiles ahead of time for every shape that the batches announce."""
        if self.run.config.debug_nans:
            return self.parts.step
        started = time.perf_counter()
        scalars = self._as_arrays(self._scalars(self.resumed.step))
        compiled = CompiledStep(self.parts.step, self.state, scalars, self.parts.batches)
        self.run.reporter.say(f"compiled in {time.perf_counter() - started:.1f} s")
        return compiled

    def _scalars(self, step: int) -> StepScalars:
        """The host's decisions for the update after `step` others."""
        return StepScalars(self.schedule(step), self.run.task.host_scalars(step))

    def _as_arrays(self, scalars: StepScalars) -> StepScalars:
        wide = self.run.config.compute_dtype == "float64"
        dtype = np.float64 if wide else np.float32
        return jax.tree.map(lambda value: np.asarray(value, dtype), scalars)

    def _pause_after(self, done: int) -> bool:
        """Evaluates and saves where it is due. Returns whether the run was asked to stop."""
        config, last = self.run.config, done == self.run.plan.total_steps
        stopping = self.stop.should_stop() and not last
        evaluates = self.run.evaluator is not None and (
            _is_due(done, config.eval.every_steps) or last
        )
        # An evaluation may take long, or fail: the state is safe before it begins.
        saves = evaluates or _is_due(done, config.checkpoint.every_steps) or last or stopping
        if not saves:
            return False
        self.recorder.write(done, self.recorder.fetch(self.parts.prefetcher))
        self.recorder.clock.pause()
        # Logs before the step: a run that resumes from it needs its lines.
        self.run.workdir.publish()
        self.checkpoints.save(self.state, done, self._meta(done, evaluation_pending=evaluates))
        self.recorder.last_saved = done
        # It can take minutes that a preempted machine does not have: the resumed run makes up for
        # it.
        if evaluates and not stopping:
            self.checkpoints.wait()
            stopping = not self._evaluate(done)
        if stopping:
            self.checkpoints.wait()
            self.run.reporter.say(f"stopped by {self.stop} after saving step {done}")
        release_freed_memory()
        self.recorder.clock.resume()
        return stopping

    def _evaluate(self, step: int) -> bool:
        """Evaluates the state of `step`, which is saved, and records the scores everywhere.

        Returns False where the run was asked to stop before it was over.
        """
        run = self.run
        if run.evaluator is None:  # the data had an evaluation split when the step was saved
            return True
        weights, averages = self.state.weights(), self.state.weights(ema=True)
        try:
            scores, report = evaluate_weights(
                run.evaluator, weights, averages, self.stop.should_stop
            )
        except StoppedError:
            return False
        if jax.process_index() == 0:
            run.task.save_report({"step": step, **report}, run.workdir.logs)
        self.best.update(scores[run.config.checkpoint.best_metric], run.higher_is_better)
        self.recorder.write(step, scores)
        run.workdir.publish()
        self.checkpoints.record(step, Evaluation(scores, self._best()))
        return True

    def _meta(self, step: int, evaluation_pending: bool) -> dict[str, Any]:
        return {
            **self.run.description,
            "step": step,
            "evaluation_pending": evaluation_pending,
            "sums": self.recorder.sums,
            "skipped_in_a_row": self.recorder.skipped_in_a_row,
            "best": self._best(),
            "higher_is_better": self.run.higher_is_better,
        }

    def _best(self) -> dict[str, Any]:
        return {"value": self.best.value, "since": self.best.since}


def _is_due(step: int, every_steps: int) -> bool:
    return every_steps > 0 and step % every_steps == 0
