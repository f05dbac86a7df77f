"""The state is saved before it is evaluated; training needs no data for evaluation."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.checkpoints.evaluation import read_evaluation
from inceptionnext_jax.checkpoints.manifest import find_damage
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.train.evaluate import Evaluator
from tests.runs import CACHE, ROOT, environment, main_py, metrics, run


def failing(evaluator, variables, stopping=None):
    raise UserError("the evaluation failed")


def test_the_state_is_whole_on_disk_when_an_evaluation_begins(tmp_path, monkeypatch):
    """Although checkpoint.every_steps asks for none at these steps."""
    changes = {
        "total_steps": 4,
        "eval.every_steps": 2,
        "checkpoint.every_steps": 0,
        "checkpoint.keep_latest": 9,
        "data.cache": True,
    }
    genuine, found = Evaluator.__call__, []

    def watched(evaluator, variables, stopping=None):
        newest = max((tmp_path / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
        found.append((newest.name, find_damage(newest), read_evaluation(newest)))
        return genuine(evaluator, variables, stopping)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", failing)
        with pytest.raises(UserError, match="the evaluation failed"):
            run(tmp_path, **changes)
    assert "train/loss" in metrics(tmp_path)[-1]
    monkeypatch.setattr(Evaluator, "__call__", watched)
    assert run(tmp_path, **changes) == 0
    assert found == [("2", None, None), ("4", None, None)]
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for step in (2, 4):
        line = {k: v for k, v in lines[step - 1].items() if k.startswith("eval/")}
        assert line == read_evaluation(tmp_path / "checkpoints" / str(step)).scores
        assert "train/loss" in lines[step - 1]
    assert read_evaluation(tmp_path / "checkpoints" / "3") is None


@pytest.fixture
def train_only(tmp_path):
    """A folder of images with train/ and nothing else."""
    rng = np.random.default_rng(0)
    for name in "abc":
        folder = tmp_path / "images" / "train" / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def pre_training(folder, **changes):
    """Flags of ConvNeXt-B's pre-training, small."""
    settings = {
        "data.dir": folder, "model.name": "convnext_atto", "model.stage_depths": (1, 1, 1, 1),
        "model.num_classes": 3, "data.image_size": 32, "data.workers": 0, "batch_size": 8,
        "total_steps": 20, "log.every_steps": 1, "checkpoint.every_steps": 2,
        "model.depthwise_impl": "conv", "log.tensorboard": False, "compilation_cache": CACHE,
    }  # fmt: skip
    pairs = {**settings, **changes}.items()
    return [
        "--config=configs/convnext/base.py:22k",
        *(f"--config.{key}={value}" for key, value in pairs),
    ]


def test_pre_training_on_a_folder_without_evaluation_images(train_only, tmp_path):
    """It trains, saves, resumes after SIGKILL and finishes."""
    workdir = tmp_path / "run"
    flags = pre_training(train_only)
    process = subprocess.Popen(
        [sys.executable, "main.py", *flags, f"--workdir={workdir}"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (workdir / "checkpoints" / "4").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (workdir / "DONE").exists()
    done = main_py(*flags, f"--workdir={workdir}", check=True)
    first = int(re.search(r"resumed from step (\d+)", done.stdout)[1])
    assert 4 <= first < 20
    assert "note: these data have no evaluation split" in done.stdout
    assert (workdir / "DONE").read_text() == "20\n"
    lines = metrics(workdir)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert not any(key.startswith("eval") for line in lines for key in line)
    # Again, it has nothing to make up for.
    assert "done: step 20 of 20" in main_py(*flags, f"--workdir={workdir}", check=True).stdout


def test_the_plan_says_that_there_is_no_evaluation(train_only, tmp_path):
    planned = main_py("--mode=plan", *pre_training(train_only), check=True).stdout
    assert "the newest checkpoint counts as the best" in planned
    assert planned.strip().endswith("verdict: runs here")
    for mode, changes, words in (
        ("plan", {"stop.patience": 2}, "stop.patience=2 counts evaluations"),
        ("eval", {}, "these data have no evaluation split"),
    ):
        flags = [*pre_training(train_only, **changes), f"--workdir={tmp_path / 'run'}"]
        refused = main_py(f"--mode={mode}", *flags)
        assert refused.returncode == 2
        (line,) = refused.stderr.strip().splitlines()
        assert words in line
