"""From a config to a run: what main.py does with its flags."""

import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from inceptionnext_jax import data, models
from inceptionnext_jax.convert.load import Say, load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.runtime.compilation_cache import cache_compilations
from inceptionnext_jax.runtime.memory import share_one_heap
from inceptionnext_jax.runtime.multihost import exit_together, on_all_processes
from inceptionnext_jax.tasks import build_task, check_labels
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train import plan as plans
from inceptionnext_jax.train import validate
from inceptionnext_jax.train.evaluate import Evaluator
from inceptionnext_jax.train.init_from import other_classes
from inceptionnext_jax.train.loop import Run, evaluate_weights, train
from inceptionnext_jax.train.progress import Reporter
from inceptionnext_jax.train.start import init_key
from inceptionnext_jax.train.weights import place
from inceptionnext_jax.workdir import folder as workdirs
from inceptionnext_jax.workdir import storage


def run_job(config: ConfigDict, workdir: str | None, mode: str, checkpoint: str | None) -> int:
    """Trains, evaluates or plans; returns the exit code.

    Raises UserError with all that is wrong with config, data and flags, a line each.
    """
    share_one_heap()
    configure_jax(config)
    if mode == "plan":
        return _plan(config)
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
    try:
        dataset = open_dataset(config)
        problems += check_labels(config, dataset.num_classes, dataset.multi_label)
    except UserError as error:
        problems.append(str(error))
    on_all_processes(lambda: validate.refuse(problems))
    plan = plans.make_plan(config, data_sizes(dataset), jax.device_count())
    where = storage.storage_path(str(workdir))
    with workdirs.opened(where) as opened:
        run = _make_run(config, plan, dataset, opened)
        return train(run) if mode == "train" else _evaluate(run, checkpoint)


def configure_jax(config: ConfigDict) -> None:
    """Sets what must be set before the first array: precision, checks, compilation cache."""
    if config.compute_dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.compilation_cache:
        cache_compilations(config.compilation_cache)


def open_dataset(config: ConfigDict) -> data.Dataset:
    """The config's data; raises UserError when they are not there, saying how to get them."""
    return data.open_dataset(
        config.data.name,
        config.data.dir,
        train_split=config.data.train_split,
        eval_split=config.data.eval_split,
        image_size=config.data.image_size,
        num_classes=config.model.num_classes,
        seed=config.seed,
    )


def data_sizes(dataset: data.Dataset) -> plans.Sizes:
    """What a plan needs to know of the data."""
    return plans.Sizes(dataset.num_train, dataset.num_eval, dataset.num_classes)


def open_training(
    config: ConfigDict,
    plan: plans.Plan,
    dataset: data.Dataset,
    positions: np.ndarray,
    start_step: int,
    stop_step: int | None = None,
) -> data.BatchIterator:
    """The rows `positions` of the global batches that training sees from `start_step` (0-based)."""
    return data.train_batches(
        dataset.train,
        seed=config.seed,
        batch_size=plan.batch_size,
        positions=positions,
        start_step=start_step,
        stop_step=stop_step,
        image_size=config.data.image_size,
        scale=config.augment.scale,
        ratio=config.augment.ratio,
        hflip=config.augment.hflip,
        interpolation=config.augment.interpolation,
        workers=plan.workers,
        max_bad=config.data.max_bad,
    )


def _plan(config: ConfigDict) -> int:
    """Prints what the config resolves to here, and all that is wrong with it.

    Data that are not here are no mistake: a plan is often made on another machine.
    """
    reporter = Reporter()
    reporter.say(json.dumps(workdirs.as_json(config), indent=1))
    problems = check(config, jax.device_count())
    missing = None
    try:
        dataset = open_dataset(config)
        sizes = data_sizes(dataset)
        problems += check_labels(config, dataset.num_classes, dataset.multi_label)
    except UserError as error:
        missing, known = str(error), data.known_sizes(config.data.name)
        if known is None:
            validate.refuse([*problems, missing])
        else:
            sizes = plans.Sizes(*known)
    validate.refuse(problems)
    _show(config, plans.make_plan(config, sizes, jax.device_count()), reporter)
    if missing:
        reporter.say(f"data: {missing}")
    reporter.say("verdict: " + ("runs once the data are there" if missing else "runs here"))
    return 0


def _show(config: ConfigDict, plan: plans.Plan, reporter: Reporter) -> dict[str, str]:
    """Prints the table of derived values and the notes; returns {what: resolved}."""
    rows = plans.rows(config, plan)
    reporter.table("requested → resolved", rows)
    for note in plan.notes:
        reporter.say(f"note: {note}")
    return {what: resolved for what, _, resolved in rows}


def _make_run(
    config: ConfigDict, plan: plans.Plan, dataset: data.Dataset, workdir: workdirs.Workdir
) -> Run:
    reporter = Reporter(enabled=jax.process_index() == 0)
    resolved = _show(config, plan, reporter)
    mesh = meshes.make_mesh(plan.mesh_data, plan.mesh_fsdp)
    positions = meshes.local_positions(mesh, plan.accumulate, plan.micro_batch)
    eval_positions = meshes.local_positions(mesh, 1, plan.eval_batch)
    task = build_task(config, plan, dataset.class_names, dataset.multi_label)

    def open_from(start_step: int) -> data.BatchIterator:
        return open_training(config, plan, dataset, positions, start_step)

    def open_evaluation() -> data.BatchIterator:
        return data.eval_batches(
            dataset.eval,
            batch_size=plan.eval_batch,
            positions=eval_positions,
            image_size=config.data.image_size,
            crop_pct=plan.crop_pct,
            interpolation=config.data.interpolation,
            workers=plan.workers,
            max_bad=config.data.max_bad,
        )

    return Run(
        config=config,
        plan=plan,
        task=task,
        mesh=mesh,
        workdir=workdir,
        open_training=open_from,
        evaluator=Evaluator(task, mesh, plan.eval_batch, open_evaluation, config.data.cache),
        description={
            **workdirs.describe(config, resolved),
            "class_names": list(dataset.class_names),
            "preprocessing": _preprocessing(config, plan),
        },
        reporter=reporter,
    )


def _preprocessing(config: ConfigDict, plan: plans.Plan) -> dict[str, Any]:
    """What an image goes through before the weights may judge it."""
    info = models.model_info(config.model.name)
    return {
        "image_size": config.data.image_size,
        "crop_pct": plan.crop_pct,
        "interpolation": config.data.interpolation,
        "mean": list(info.mean),
        "std": list(info.std),
    }


def _evaluate(run: Run, checkpoint: str | None) -> int:
    """Evaluates the newest checkpoint of the workdir, or the weights at `checkpoint`."""
    source = checkpoint or str(run.workdir.place)
    model, say = run.config.model, run.reporter.say
    variables, averages, meta = load_weights(source, model.name, model.stage_depths, say)
    _check_classes(run.description["class_names"], meta.get("class_names", ()), source, say)
    shapes = jax.eval_shape(run.task.init, init_key(run.config.seed))
    shapes = {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        meshes.state_shardings(run.mesh, shapes),
    )
    weights = place(variables, abstract, source)
    if averages is not None:
        averages = place(averages, abstract, f"{source} (ema)")
    scores, report = evaluate_weights(run, weights, averages)
    if jax.process_index() == 0:
        step = meta.get("step")
        run.task.save_report({"step": step, "checkpoint": source, **report}, run.workdir.logs)
    for key, value in scores.items():
        run.reporter.say(f"{key} {value:.6g}")
    return 0


def _check_classes(own: list[str], given: Sequence[str], source: str, say: Say) -> None:
    """Refuses a checkpoint whose classes cannot be those of the data, and warns where they may."""
    differing = other_classes(own, given)
    if differing is None:
        return
    if len(own) != len(given) or sorted(own) == sorted(given):
        raise UserError(
            f"checkpoint {source} has {differing}; evaluate it on data with the classes that it "
            f"was trained for"
        )
    say(f"warning: checkpoint {source} has {differing}; they are compared by their numbers")
