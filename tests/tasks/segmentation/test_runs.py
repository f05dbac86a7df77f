"""Whole runs of segmentation: killed, on several devices and processes, on a miniature ADE20K."""

import json

import numpy as np
import pytest

from tests.ade20k import write_ade20k
from tests.runs import (
    CACHE,
    assert_same_arrays,
    killed_at_random,
    main_py,
    metrics,
    saved_arrays,
    two_processes,
)

SMALL = {
    "compilation_cache": CACHE,
    "model.stage_depths": (1, 1, 1, 1),
    "model.depthwise_impl": "conv",
    "head.channels": 8,
    "data.image_size": 64,
    "data.cache": False,
    "batch_size": 8,
    "optim.lr_batch_size": 8,
    "total_steps": 6,
    "schedule.warmup_steps": 2,
    "log.every_steps": 1,
    "log.tensorboard": False,
    "checkpoint.every_steps": 2,
    "eval.every_steps": 0,
}


def flags(workdir, **changes):
    pairs = {**SMALL, **changes}.items()
    config = "--config=configs/segmentation/digits.py"
    return [config, f"--workdir={workdir}", *(f"--config.{key}={value}" for key, value in pairs)]


def report(workdir):
    return json.loads((workdir / "eval.json").read_text())["eval"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run without interruption, on one device."""
    workdir = tmp_path_factory.mktemp("scenes")
    main_py(*flags(workdir), check=True)
    return workdir


def test_lines_and_reports_have_the_tasks_metrics(trained):
    lines = metrics(trained)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        total = line["train/loss_decode"] + 0.4 * line["train/loss_auxiliary"]
        assert line["train/loss"] == pytest.approx(total, rel=1e-5)
        assert 0 <= line["train/acc"] <= 1
    found = report(trained)
    assert lines[-1]["eval/miou"] == found["miou"]
    assert found["count"] == 100
    matrix = np.array(found["confusion_matrix"])
    assert matrix.shape == (11, 11)
    assert found["aacc"] == np.trace(matrix) / matrix.sum()
    rows = (trained / "per_class.csv").read_text().splitlines()
    assert rows[0] == "class,iou,accuracy,pixels"
    assert len(rows) == 12
    assert (trained / "confusion.png").stat().st_size > 1000
    meta = json.loads((trained / "config.json").read_text())
    assert meta["preprocessing"]["resize"] == [160, 112]


def evaluated(trained, workdir, devices=1, **changes):
    step = f"--checkpoint={trained}/checkpoints/6"
    main_py(*flags(workdir, **changes), "--mode=eval", step, devices=devices, check=True)
    return report(workdir)["confusion_matrix"]


def test_the_confusion_matrix_is_exact_at_any_batch_size(trained, tmp_path):
    wanted = report(trained)["confusion_matrix"]
    for batch in (1, 3):
        assert evaluated(trained, tmp_path / str(batch), **{"batch_size": batch}) == wanted


@pytest.mark.slow
def test_the_confusion_matrix_is_exact_on_any_devices_and_processes(trained, tmp_path):
    wanted = report(trained)["confusion_matrix"]
    big = {"batch_size": 16}
    assert evaluated(trained, tmp_path / "16", **big) == wanted
    assert evaluated(trained, tmp_path / "8", devices=8, **big) == wanted
    two = tmp_path / "two"
    step = f"--checkpoint={trained}/checkpoints/6"
    two_processes(*flags(two, **big), "--mode=eval", step)
    assert report(two)["confusion_matrix"] == wanted


@pytest.mark.slow
def test_eight_devices_agree_with_one(trained, tmp_path):
    main_py(*flags(tmp_path), devices=8, check=True)
    for one, eight in zip(metrics(trained), metrics(tmp_path), strict=True):
        assert eight["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)


def test_killed_it_ends_with_the_same_bits(trained, tmp_path):
    killed_at_random(flags(tmp_path), kills=1)
    assert_same_arrays(saved_arrays(trained, 6), saved_arrays(tmp_path, 6))
    assert report(tmp_path) == report(trained)


@pytest.mark.slow
def test_ten_kills_leave_no_trace(trained, tmp_path):
    killed_at_random(flags(tmp_path), kills=10)
    assert_same_arrays(saved_arrays(trained, 6), saved_arrays(tmp_path, 6))
    assert report(tmp_path) == report(trained)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "views",
    ["slide", pytest.param("whole", marks=SLOW), pytest.param("several", marks=SLOW)],
)
def test_a_miniature_ade20k_trains_and_is_evaluated(tmp_path, views):
    folder = tmp_path / "ADEChallengeData2016"
    write_ade20k(folder)
    changes = {
        "data.dir": folder,
        "data.workers": 0,
        "data.image_size": 64,
        "data.resize": (160, 64),
        "head.channels": 8,
        "model.stage_depths": (1, 1, 1, 1),
        "model.depthwise_impl": "conv",
        "batch_size": 4,
        "total_steps": 2,
        "log.tensorboard": False,
        "compilation_cache": CACHE,
    }
    if views != "slide":
        changes["eval.method"] = "whole"
    if views == "several":
        changes |= {"eval.scales": (1.0, 1.5), "eval.flip": True}
    config = ["--config=configs/segmentation/upernet_inceptionnext_tiny.py"]
    overrides = [f"--config.{key}={value}" for key, value in changes.items()]
    workdir = tmp_path / "run"
    main_py(*config, f"--workdir={workdir}", *overrides, check=True, timeout=900)
    last = metrics(workdir)[-1]
    assert last["step"] == 2
    assert last["eval/count"] == 4
    assert 0 <= last["eval/miou"] <= 1
    assert ("eval/miou_ms" in last) == (views == "several")
    assert len(report(workdir)["per_class"]) == 150
