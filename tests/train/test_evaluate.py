"""Evaluation counts every image once and equals a plain statement of it."""

import json

import jax
import numpy as np
import pytest

from inceptionnext_jax import data
from inceptionnext_jax.cli.job import run_job
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.convert.load import load_weights
from tests.runs import metrics, run, small_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    run(workdir, total_steps=4, ema_decay=0.5, **{"optim.lr": 5e-3})
    return workdir


def plain_statement(workdir):
    """top-1, top-5 and loss over the 359 held-out digits, one image at a time, in numpy."""
    from inceptionnext_jax.tasks.classification import build

    config = small_config(total_steps=4)
    built = build.build(config, build.open_data(config))
    task = built.task
    variables, _, _ = load_weights(workdir, config.model.name)
    with data.eval_batches(
        built.evaluation.source, built.evaluation.transforms, batch_size=359,
        positions=np.arange(359), workers=0,
    ) as batches:  # fmt: skip
        (batch,) = list(batches)
    logits = np.asarray(jax.jit(task.predict)(variables, {"image": batch["image"]}), np.float64)
    label = batch["label"]
    order = np.argsort(-logits, axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (label, order[:, 0]), 1)
    return {
        "top1": (order[:, 0] == label).mean(),
        "top5": (order[:, :5] == label[:, None]).any(axis=1).mean(),
        "loss": -log_probs[np.arange(359), label].mean(),
        "confusion": confusion,
    }


@pytest.mark.parametrize("batch", [24, 64, 1000])
def test_every_image_counts_once_at_any_batch_size(trained, batch, capsys):
    """Eight devices; 359 is no multiple of any of these."""
    wanted = plain_statement(trained)
    assert run(trained, "eval", total_steps=4, batch_size=batch, ema_decay=0.5) == 0
    report = json.loads((trained / "eval.json").read_text())
    assert report["eval"]["count"] == 359
    for name in ("top1", "top5", "loss"):
        assert report["eval"][name] == pytest.approx(wanted[name], rel=1e-4)
    np.testing.assert_array_equal(report["eval"]["confusion_matrix"], wanted["confusion"])
    accuracy = np.diag(wanted["confusion"]) / wanted["confusion"].sum(axis=1)
    assert list(report["eval"]["per_class_accuracy"].values()) == pytest.approx(list(accuracy))
    assert report["eval_ema"]["count"] == 359
    assert report["eval_ema"]["loss"] != report["eval"]["loss"]
    assert (trained / "confusion.png").stat().st_size > 10_000
    assert "eval_ema/top1" in capsys.readouterr().out


def test_the_runs_own_evaluation_is_the_same(trained):
    wanted = plain_statement(trained)
    line = metrics(trained)[-1]
    assert line["step"] == 4
    assert line["eval/count"] == line["eval_ema/count"] == 359
    assert line["eval/top1"] == pytest.approx(wanted["top1"])


def test_a_step_or_converted_weights_can_be_evaluated(trained, tmp_path, capsys):
    from safetensors.numpy import save_file

    variables, _, meta = load_weights(trained, "inceptionnext_atto")
    assert meta["class_names"] == [str(digit) for digit in range(10)]
    config = small_config(total_steps=4)
    step = trained / "checkpoints" / "4"
    assert run_job(config, str(tmp_path), "eval", str(step)) == 0
    assert f"eval/top1 {metrics(trained)[-1]['eval/top1']:.6g}" in capsys.readouterr().out
    named = to_torch("inceptionnext_atto", variables, stage_depths=(1, 1, 1, 1))
    save_file(named, tmp_path / "weights.safetensors")
    assert run_job(config, str(tmp_path), "eval", str(tmp_path / "weights.safetensors")) == 0
    assert f"eval/top1 {metrics(trained)[-1]['eval/top1']:.6g}" in capsys.readouterr().out
