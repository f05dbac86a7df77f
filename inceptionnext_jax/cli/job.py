"""From a config to a run: what main.py does with its flags."""

import json
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from inceptionnext_jax import data
from inceptionnext_jax.cli.pictures import picture_path, save_picture
from inceptionnext_jax.convert.load import Say, load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.runtime.compilation_cache import cache_compilations
from inceptionnext_jax.runtime.memory import use_one_malloc_arena
from inceptionnext_jax.runtime.multihost import exit_together, on_all_processes
from inceptionnext_jax.tasks import task_kind, task_names
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.tasks.kind import Data, Input, Inspection, Job
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train import validate
from inceptionnext_jax.train.evaluate import Evaluator, evaluate_weights
from inceptionnext_jax.train.init_state import abstract_weights, put_on_mesh
from inceptionnext_jax.train.loop import train
from inceptionnext_jax.train.progress import Reporter
from inceptionnext_jax.train.run import Run
from inceptionnext_jax.train.task import Difference
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.description import config_as_json, describe
from inceptionnext_jax.workdir.folder import Workdir, open_workdir


def run_job(
    config: ConfigDict,
    workdir: str | None,
    mode: str,
    checkpoint: str | None,
    to: str | None = None,
) -> int:
    """Trains, evaluates or plans; returns the exit code.

    to: The picture that a plan writes.
    Raises UserError with all that is wrong with config, data and flags, a line each.
    """
    if to is not None and mode != "plan":
        raise UserError(
            f"--to={to} belongs to --mode=plan, which draws the data; this is --mode={mode}"
        )
    use_one_malloc_arena()
    configure_jax(config)
    if mode == "plan":
        return _plan(config, None if to is None else picture_path(to))
    with exit_together():
        return _run(config, workdir, mode, checkpoint)


def _run(config: ConfigDict, workdir: str | None, mode: str, checkpoint: str | None) -> int:
    problems = check(config, jax.device_count())
    if workdir is None:
        problems.append("--workdir is required: the folder for checkpoints and logs")
    else:
        try:
            storage.storage_path(workdir)
        except UserError as error:
            problems.append(f"--workdir={error}")
    if config.task in task_names():
        kind = task_kind(config.task)
        try:
            dataset = kind.open_data(config)
            problems += kind.check_data(config, dataset)
            say = Reporter(enabled=jax.process_index() == 0).say
            if not problems and (seen := kind.inspect(config, dataset, False, say)):
                problems += seen.problems
        except UserError as error:
            problems.append(str(error))
    on_all_processes(lambda: validate.refuse(problems))
    job = kind.build(config, dataset)
    plan = make_plan(config, dataset, job, jax.device_count())
    with open_workdir(storage.storage_path(str(workdir))) as opened:
        run = _make_run(config, plan, job, opened)
        return train(run) if mode == "train" else _evaluate(run, checkpoint)


def make_plan(config: ConfigDict, dataset: Data, job: Job, devices: int) -> plans.Plan:
    """The plan of a valid config."""
    sizes = plans.Sizes(dataset.num_train, dataset.num_eval)
    return plans.make_plan(config, sizes, devices, job.footprint)


def configure_jax(config: ConfigDict) -> None:
    """Sets what must be set before the first array: precision, checks, compilation cache."""
    if config.compute_dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.compilation_cache:
        cache_compilations(config.compilation_cache)


def open_training(
    config: ConfigDict,
    plan: plans.Plan,
    given: Input,
    positions: np.ndarray,
    start_step: int,
    stop_step: int | None = None,
) -> data.BatchIterator:
    """The rows `positions` of the global batches that training sees from `start_step` (0-based)."""
    return data.train_batches(
        given.source,
        given.transforms,
        seed=config.seed,
        batch_size=plan.batch_size,
        positions=positions,
        start_step=start_step,
        stop_step=stop_step,
        workers=plan.workers,
        max_bad=config.data.max_bad,
        order=given.order_of(plan.batch_size),
    )


def _plan(config: ConfigDict, target: Path | None) -> int:
    """Prints what the config resolves to here, and all that is wrong with it.

    Missing data are no mistake: a plan is often made on another machine.

    target: The picture of the data to write.
    """
    reporter = Reporter()
    reporter.say(json.dumps(config_as_json(config), indent=1))
    problems = check(config, jax.device_count())
    if config.task not in task_names():
        validate.refuse(problems)
    kind, missing = task_kind(config.task), None
    try:
        dataset = kind.open_data(config)
        problems += kind.check_data(config, dataset)
    except UserError as error:
        missing = str(error)
        dataset = kind.known_data(config)
        if dataset is None or target is not None:
            validate.refuse([*problems, missing])
    validate.refuse(problems)
    job = kind.build(config, dataset)
    _show(config, make_plan(config, dataset, job, jax.device_count()), job, reporter)
    if missing:
        reporter.say(f"data: {missing}")
    else:
        _show_data(kind.inspect(config, dataset, True, reporter.say), target, config, reporter)
    reporter.say("verdict: " + ("runs once the data are there" if missing else "runs here"))
    return 0


def _show_data(
    seen: Inspection | None, target: Path | None, config: ConfigDict, reporter: Reporter
) -> None:
    """Prints what a look at the data found, and draws it; raises UserError for its problems."""
    for line in seen.lines if seen else ():
        reporter.say(line)
    if target is not None:
        if seen is None:
            raise UserError(
                f"--to={target}: the task {config.task} has no picture of its data before "
                f"training; `python -m inceptionnext_jax explain augment` draws training images"
            )
        validate.refuse(seen.problems)
        save_picture(seen.draw(), target)
        reporter.say(f"wrote {target}")
    validate.refuse(seen.problems if seen else [])


def _show(config: ConfigDict, plan: plans.Plan, job: Job, reporter: Reporter) -> dict[str, str]:
    """Prints the table of derived values and the notes; returns {subject: resolved}."""
    rows = [*job.rows(plan), *plans.rows(config, plan)]
    reporter.table("requested → resolved", rows)
    for note in plan.notes:
        reporter.say(f"note: {note}")
    return {subject: resolved for subject, _, resolved in rows}


def _make_run(config: ConfigDict, plan: plans.Plan, job: Job, workdir: Workdir) -> Run:
    reporter = Reporter(enabled=jax.process_index() == 0)
    resolved = _show(config, plan, job, reporter)
    mesh = meshes.make_mesh(plan.mesh_data, plan.mesh_fsdp)
    positions = meshes.local_positions(mesh, plan.accumulate, plan.micro_batch)
    eval_positions = meshes.local_positions(mesh, 1, plan.eval_batch)

    def open_from(start_step: int) -> data.BatchIterator:
        return open_training(config, plan, job.train, positions, start_step)

    def open_evaluation() -> data.BatchIterator:
        return data.eval_batches(
            job.evaluation.source,
            job.evaluation.transforms,
            batch_size=plan.eval_batch,
            positions=eval_positions,
            workers=plan.workers,
            max_bad=config.data.max_bad,
            order=job.evaluation.order_of(plan.eval_batch),
        )

    return Run(
        config=config,
        plan=plan,
        task=job.task,
        mesh=mesh,
        workdir=workdir,
        open_training=open_from,
        evaluator=None
        if job.evaluation.source is None
        else Evaluator(job.task, mesh, plan.eval_batch, open_evaluation, config.data.cache),
        description={**describe(config, resolved), **job.task.metadata()},
        reporter=reporter,
    )


def _evaluate(run: Run, checkpoint: str | None) -> int:
    """Evaluates the newest checkpoint of the workdir, or the weights at `checkpoint`."""
    if run.evaluator is None:
        raise UserError("these data have no evaluation split; set data.eval_split or data.dir")
    source = checkpoint or str(run.workdir.path)
    model, say = run.config.model, run.reporter.say
    variables, averages, meta = load_weights(source, model.name, model.stage_depths, say)
    _check_origin(run.task.difference(meta), source, say)
    abstract = abstract_weights(run.task, run.mesh, run.config.seed)
    weights = put_on_mesh(variables, abstract, source)
    if averages is not None:
        averages = put_on_mesh(averages, abstract, f"{source} (ema)")
    scores, report = evaluate_weights(run.evaluator, weights, averages)
    if jax.process_index() == 0:
        step = meta.get("step")
        run.task.save_report({"step": step, "checkpoint": source, **report}, run.workdir.logs)
    for key, value in scores.items():
        run.reporter.say(f"{key} {value:.6g}")
    return 0


def _check_origin(difference: Difference | None, source: str, say: Say) -> None:
    """Refuses a checkpoint of another task's classes, and warns where they may be the same."""
    if difference is None:
        return
    if difference.excludes_evaluation:
        raise UserError(
            f"checkpoint {source} has {difference.text}; evaluate it on data with the classes that "
            f"it was trained for"
        )
    say(f"warning: checkpoint {source} has {difference.text}; they are compared by their numbers")
