"""Checkpoints of runs: read onto one device from any mesh, converted, refused if damaged."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.checkpoints.evaluation import NAME as EVALUATION
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.trees import paths_and_leaves
from tests.models.oracle import images
from tests.runs import ROOT, environment, run, saved_arrays

ATTO = "inceptionnext_atto"


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with averages on a mesh of 4 × 2 devices; returns its workdir."""
    workdir = tmp_path_factory.mktemp("run")
    changes = {"total_steps": 2, "ema_decay": 0.5, "checkpoint.every_steps": 1, "mesh.fsdp": 2}
    run(workdir, **changes)
    return workdir


def test_a_run_on_any_mesh_is_loaded_onto_one_device(trained):
    notes = []
    loaded = inx.load_pretrained(trained, say=notes.append)
    assert notes == [f"{trained}/checkpoints/2: taking the averaged weights"]
    assert loaded.class_names == tuple("0123456789")
    assert loaded.preprocessing.image_size == 32
    assert loaded.options == {"stage_depths": [1, 1, 1, 1]}
    assert (
        loaded.metrics
        == json.loads((trained / "checkpoints/2" / EVALUATION).read_text())["evaluation"]["scores"]
    )
    assert "eval_ema/top1" in loaded.metrics
    arrays = saved_arrays(trained, 2)
    flat = dict(paths_and_leaves(loaded.variables))
    assert len(flat) == 90
    for path, leaf in flat.items():
        assert isinstance(leaf, np.ndarray)
        np.testing.assert_array_equal(leaf, arrays[f"ema/{path}"], err_msg=path)
    plain = inx.load_pretrained(trained / "checkpoints/1", key="params")
    arrays = saved_arrays(trained, 1)
    for path, leaf in paths_and_leaves(plain.variables):
        np.testing.assert_array_equal(leaf, arrays[path], err_msg=path)
    model, variables = inx.load_model(trained, depthwise_impl="conv")
    assert jax.eval_shape(model.apply, variables, images((2, 32, 32, 3))).shape == (2, 10)


@pytest.mark.slow
def test_one_device_reads_a_checkpoint_of_eight(trained, tmp_path):
    code = """
import sys, jax, numpy as np, inceptionnext_jax as inx
from inceptionnext_jax.trees import paths_and_leaves
assert jax.device_count() == 1
model, variables = inx.load_model(sys.argv[1])
logits = model.apply(variables, np.ones((2, 32, 32, 3), np.float32), train=False)
np.savez(sys.argv[2], logits=logits, **dict(paths_and_leaves(variables)))
"""
    command = [sys.executable, "-c", code, trained / "checkpoints/2", tmp_path / "found.npz"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(devices=1), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    arrays, found = saved_arrays(trained, 2), dict(np.load(tmp_path / "found.npz"))
    assert found.pop("logits").shape == (2, 10)
    assert len(found) == 90
    for path, leaf in found.items():
        np.testing.assert_array_equal(leaf, arrays[f"ema/{path}"], err_msg=path)


def test_runs_are_converted(trained, tmp_path):
    assert convert("--from", trained, "--to", tmp_path / "ema") == 0
    assert convert("--from", trained, "--to", tmp_path / "w.safetensors", "--key", "params") == 0
    config = json.loads((tmp_path / "ema/config.json").read_text())
    assert config["label_names"] == list("0123456789")
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    for key, file in (("params", "w.safetensors"), ("ema", "ema/model.safetensors")):
        loaded = inx.load_pretrained(trained, key=key)
        written = load_file(tmp_path / file)
        expected = to_torch(loaded.name, loaded.variables, **loaded.options)
        assert written.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(written[name], value, err_msg=name)


def change_meta(step, **changes):
    path = step / "meta/metadata"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGED_STEPS = {
    "a link": lambda step: (step / "state/link").symlink_to("/etc/passwd"),
    "no metadata": lambda step: (step / "state/_METADATA").unlink(),
    "metadata cut": lambda step: (step / "state/_METADATA").write_text("{"),
    "meta is a list": lambda step: (step / "meta/metadata").write_text("[1]"),
    "names are a number": lambda step: change_meta(step, class_names=7),
    "names are numbers": lambda step: change_meta(step, class_names=[1, 2]),
    "model is a list": lambda step: change_meta(step, config={"model": {"name": ["x"]}}),
    "mixer is a list": lambda step: change_meta(
        step, config={"model": {"name": ATTO, "token_mixer": []}}
    ),
    "a billion blocks": lambda step: change_meta(
        step, config={"model": {"name": ATTO, "stage_depths": [10**9] * 4}}
    ),
    "size of text": lambda step: change_meta(step, preprocessing={"image_size": "big"}),
    "no state": lambda step: [p.unlink() for p in (step / "state").rglob("*") if p.is_file()],
}


@pytest.mark.parametrize("name", DAMAGED_STEPS)
def test_damaged_checkpoints_are_refused(trained, tmp_path, capsys, name):
    shutil.copytree(trained, tmp_path / "run")
    step = tmp_path / "run/checkpoints/2"
    DAMAGED_STEPS[name](step)
    assert convert("--from", step, "--to", tmp_path / "target") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1, errors
    assert not (tmp_path / "target").exists()
