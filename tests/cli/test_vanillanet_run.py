"""A VanillaNet run: the rising slope, a kill and a resume, the deployed form."""

import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs.vanillanet import digits
from inceptionnext_jax import data
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.tasks.classification import build
from tests.models.oracle import relative_error
from tests.runs import CACHE, ROOT, main_py, metrics

pytestmark = pytest.mark.slow
NAME = "vanillanet_6"
STEPS_PER_EPOCH = 11


def evaluation_set():
    """(task, normalised evaluation images, their labels)."""
    config = digits.get_config()
    dataset = build.open_data(config)
    built, count = build.build(config, dataset), dataset.num_eval
    with data.eval_batches(
        dataset.eval, built.evaluation.transforms, batch_size=count, positions=np.arange(count),
        workers=0,
    ) as batches:  # fmt: skip
        (batch,) = batches
    before = built.task.preprocessing
    images = normalize(batch["image"], before.mean, before.std, np.float32)
    return built.task, images, batch["label"]


def train(workdir, kill_at=None):
    """Trains with all XLA optimizations on one device; kills the run when a step is logged."""
    flags = ["--config=configs/vanillanet/digits.py", f"--workdir={workdir}"]
    flags += ["--config.log.tensorboard=False", f"--config.compilation_cache={CACHE}"]
    process = subprocess.Popen(
        [sys.executable, "main.py", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
    )  # fmt: skip
    for line in process.stdout:
        if kill_at and line.startswith(f"step {kill_at} "):
            process.kill()
    assert process.wait() == (-signal.SIGKILL if kill_at else 0)


def test_a_killed_run_resumes_its_slope_and_deploys_with_the_same_score(tmp_path):
    train(tmp_path, kill_at=66)
    task, images, labels = evaluation_set()
    weights, averages, meta = load_weights(tmp_path, NAME)
    assert meta["step"] == 55
    for variables in (weights, averages):
        assert variables["host"]["slope"] == np.float32(0.4)  # of step 55, in epoch 4
        with pytest.raises(UserError, match=r"have slope 0\.4"):
            deploy(task.model, variables)

    train(tmp_path)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [
        STEPS_PER_EPOCH * (1 + epoch) for epoch in range(30)
    ]
    slopes = [line["train/slope"] for line in lines]
    np.testing.assert_allclose(slopes, [min(epoch / 10, 1) for epoch in range(30)], rtol=1e-6)
    weights, averages, _ = load_weights(tmp_path, NAME)
    for name, variables in (("eval", weights), ("eval_ema", averages)):
        merged, folded = deploy(task.model, variables)
        trained, deployed = (
            np.asarray(jax.jit(model.apply)(arrays, images))
            for model, arrays in ((task.model, variables), (merged, folded))
        )
        assert relative_error(deployed, trained) < 1e-5
        scores = [float((logits.argmax(-1) == labels).mean()) for logits in (trained, deployed)]
        assert scores == [pytest.approx(lines[-1][f"{name}/top1"], abs=1e-9)] * 2
        assert scores[1] >= 0.95, name


def test_a_published_config_runs_in_its_debug_form(tmp_path):
    done = main_py("--config=configs/vanillanet/6.py:debug", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "DONE").read_text() == "2\n"
