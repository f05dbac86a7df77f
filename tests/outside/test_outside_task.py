"""A network, a data set, a metric and a whole task, added without a change to the package."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.__main__ import main
from inceptionnext_jax.data import Dataset, Example, catalog, register_dataset
from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.compiled import CompiledStep
from tests.runs import (
    ROOT,
    assert_same_arrays,
    environment,
    main_py,
    metrics,
    run,
    saved_arrays,
    two_processes,
)

CONFIG = "--config=tests/outside/config.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run without interruption, on one device."""
    workdir = tmp_path_factory.mktemp("brightness")
    main_py(CONFIG, f"--workdir={workdir}", check=True)
    return workdir


def report(workdir):
    return json.loads((workdir / "eval.json").read_text())


def test_its_words_metrics_and_scalars_are_logged(trained):
    lines = metrics(trained)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["train/gain"] for line in lines] == pytest.approx([1, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert all(line["train/mse"] > 0 for line in lines)
    assert lines[-1]["eval/count"] == lines[-1]["eval_ema/count"] == 37
    assert -1 <= lines[-1]["eval_ema/rank"] <= 1
    meta = json.loads((trained / "config.json").read_text())
    assert meta["unit"] == "share of white"
    done = main_py(CONFIG, f"--workdir={trained}", "--config.total_steps=7", check=True)
    assert "| squared error " in done.stdout
    assert "rank correlation of the average " in done.stdout
    assert "loss" not in done.stdout


def test_killed_between_steps_it_ends_with_the_same_bits(trained, tmp_path):
    command = [sys.executable, "main.py", CONFIG, f"--workdir={tmp_path}"]
    killed = subprocess.run(
        command, cwd=ROOT, env={**environment(), "BRIGHTNESS_KILLED_BEFORE_STEP": "3"},
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2"]
    done = main_py(CONFIG, f"--workdir={tmp_path}", check=True)
    assert "resumed from step 2" in done.stdout
    assert_same_arrays(saved_arrays(trained, 6), saved_arrays(tmp_path, 6))
    arrays = saved_arrays(tmp_path, 6)
    assert arrays["host/gain"] == arrays["ema/host/gain"] == np.float32(1.5)


def test_records_come_in_the_order_of_the_data_on_any_devices_and_processes(trained, tmp_path):
    """37 pictures of two shapes, in padded batches of 16."""
    step = f"--checkpoint={trained}/checkpoints/6"
    found = {}
    for devices in (1, 8):
        folder = tmp_path / str(devices)
        main_py(CONFIG, f"--workdir={folder}", "--mode=eval", step, devices=devices, check=True)
        found[devices] = report(folder)["eval_ema"]
    two_processes(CONFIG, f"--workdir={tmp_path / 'two'}", "--mode=eval", step)
    found["two processes"] = report(tmp_path / "two")["eval_ema"]
    predicted = [item["predicted"] for item in found[1]["examples"]]
    for one in found.values():
        assert [item["number"] for item in one["examples"]] == list(range(37))
        assert one["count"] == 37
        assert one["mse"] == pytest.approx(found[1]["mse"], rel=1e-5)
        others = [item["predicted"] for item in one["examples"]]
        assert others == pytest.approx(predicted, rel=1e-5, abs=1e-6)
    errors = [(item["predicted"] - item["target"]) ** 2 for item in found[1]["examples"]]
    assert found[1]["mse"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_init_from_keeps_the_network_and_lists_everything(trained, tmp_path):
    done = main_py(CONFIG, f"--workdir={tmp_path}", f"--config.init_from={trained}", check=True)
    assert "5 of 5 arrays loaded" in done.stdout


def test_a_key_of_another_task_is_refused(tmp_path):
    done = main_py(CONFIG, f"--workdir={tmp_path}", "--config.augment.mixup=1.0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "augment.mixup" in line
    assert "classification" in line


def test_a_shape_that_was_not_announced_is_an_error():
    step = CompiledStep(
        jax.jit(lambda state, batch, scalars: state + batch["x"].sum()),
        np.float32(0), (), [{"x": jax.ShapeDtypeStruct((1, 2), np.float32)}],
    )  # fmt: skip
    assert step(np.float32(0), {"x": np.ones((1, 2), np.float32)}, ()) == 2
    with pytest.raises(RunError, match=r"x float32\[1, 3\].*expected x float32\[1, 2\]"):
        step(np.float32(0), {"x": np.ones((1, 3), np.float32)}, ())


class Stripes:
    """Pictures of vertical or horizontal stripes."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        row = np.tile(np.array([0, 255], np.uint8), 16)
        grey = np.tile(row, (32, 1))
        pixels = np.repeat((grey if index % 2 else grey.T)[..., None], 3, axis=2)
        return Example(pixels, index % 2, f"stripes {index}")


def test_a_data_set_from_outside_trains_a_classifier(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_REGISTERED", {})
    names = ("vertical", "horizontal")
    register_dataset("stripes", lambda *_: Dataset("stripes", Stripes(), Stripes(), names))
    assert run(tmp_path, total_steps=2, **{"data.name": "stripes"}) == 0
    assert metrics(tmp_path)[-1]["eval/count"] == 64
    assert list(report(tmp_path)["eval"]["per_class_accuracy"]) == list(names)


def test_its_augmented_images_are_drawn(tmp_path, capsys):
    to = tmp_path / "sheet.png"
    assert main(["explain", "augment", CONFIG, f"--to={to}", "--rows=2", "--columns=3"]) == 0
    assert "2 rows of 3 images" in capsys.readouterr().out
    with Image.open(to) as picture:
        assert np.asarray(picture).std() > 20
