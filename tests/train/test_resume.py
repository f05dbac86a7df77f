"""Stopping and resuming: bits, lines and refusals. Real runs on digits."""

import signal
import subprocess
import sys
import time

import pytest

from inceptionnext_jax.errors import UserError
from tests.runs import (
    ROOT,
    assert_same_arrays,
    environment,
    main_py,
    metrics,
    run,
    saved_arrays,
    small_flags,
)

TRAINED = ("train/loss", "train/grad_norm", "train/param_norm", "train/lr")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run of ten steps with averages, by `python main.py` on one device."""
    workdir = tmp_path_factory.mktemp("unbroken")
    main_py(*small_flags(ema_decay=0.9), f"--workdir={workdir}", check=True)
    return workdir


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_run_killed_and_resumed_has_the_bits_of_an_unbroken_one(unbroken, tmp_path, workers):
    """Model, optimizer, averages and, through them, the data."""
    flags = small_flags(ema_decay=0.9, **{"data.workers": workers})
    process = subprocess.Popen(
        [sys.executable, "main.py", *flags, f"--workdir={tmp_path}"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step 5 "):
            break
    while not (tmp_path / "checkpoints" / "5").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = main_py(*flags, f"--workdir={tmp_path}", check=True)
    assert "resumed from step" in done.stdout or "done: step 10" in done.stdout
    assert_same_arrays(saved_arrays(unbroken, 10), saved_arrays(tmp_path, 10))
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 11))
    for one, other in zip(metrics(unbroken), lines, strict=True):
        assert {key: one[key] for key in TRAINED} == {key: other[key] for key in TRAINED}


def test_sigterm_saves_exits_75_and_loses_nothing(unbroken, tmp_path):
    flags = small_flags(
        ema_decay=0.9, **{"checkpoint.every_steps": 0, "eval.every_steps": 1, "data.cache": True}
    )
    process = subprocess.Popen(
        [sys.executable, "main.py", *flags, f"--workdir={tmp_path}"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step 2 "):
            process.send_signal(signal.SIGTERM)
            break
    output = process.stdout.read()
    assert process.wait() == 75
    assert "stopped by SIGTERM after saving step" in output
    assert not (tmp_path / "DONE").exists()
    main_py(*flags, f"--workdir={tmp_path}", check=True)
    assert_same_arrays(saved_arrays(unbroken, 10), saved_arrays(tmp_path, 10))
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 11))
    # The step whose evaluation was skipped by the stop was evaluated after resuming.
    assert [line["eval/count"] for line in lines] == [359] * 10


def test_a_finished_run_stays_finished_and_can_be_extended(tmp_path, capsys):
    assert run(tmp_path, total_steps=2) == 0
    assert (tmp_path / "DONE").read_text() == "2\n"
    capsys.readouterr()
    assert run(tmp_path, total_steps=2) == 0
    assert "done: step 2 of 2" in capsys.readouterr().out
    assert run(tmp_path, total_steps=3, **{"log.every_steps": 2}) == 0
    output = capsys.readouterr().out
    assert "changed since step 2: total_steps 2 → 3" in output
    assert "changed since step 2: log.every_steps 1 → 2" in output
    assert (tmp_path / "DONE").read_text() == "3\n"
    for changes in ({"seed": 1}, {"batch_size": 64}, {"model.drop_path_rate": 0.3}):
        with pytest.raises(UserError, match=f"another config .{next(iter(changes))}"):
            run(tmp_path, total_steps=4, **changes)
    assert (tmp_path / "DONE").exists()


def test_patience_stops_a_run_that_does_not_improve(tmp_path, capsys):
    changes = {"stop.patience": 2, "eval.every_steps": 1, "data.cache": True, "optim.lr": 1e-12}
    assert run(tmp_path, **changes) == 0
    assert "stopped at step 3: no better evaluation in 2" in capsys.readouterr().out
    assert (tmp_path / "DONE").read_text() == "3\n"
    assert run(tmp_path, **changes) == 0
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]


def test_a_workdir_in_use_is_refused(tmp_path):
    from inceptionnext_jax.workdir.lock import Lock

    lock = Lock.acquire(tmp_path)
    with pytest.raises(UserError, match="in use by another run"):
        Lock.acquire(tmp_path)
    lock.release()
    Lock.acquire(tmp_path).release()


def test_a_run_on_a_mesh_with_fsdp_evaluates_on_one_device(tmp_path):
    """Trains on 8 simulated devices with mesh.fsdp=2; the checkpoint is read by one device."""
    flags = small_flags(total_steps=3, **{"mesh.fsdp": 2, "model.bn_group_size": 4})
    trained = main_py(*flags, f"--workdir={tmp_path}", devices=8, check=True)
    assert "data=4, fsdp=2" in trained.stdout
    wanted = {k: v for k, v in metrics(tmp_path)[-1].items() if k.startswith("eval/")}
    single = small_flags(total_steps=3, **{"model.bn_group_size": 4})
    done = main_py(*single, f"--workdir={tmp_path}", "--mode=eval", devices=1, check=True)
    got = dict(line.split() for line in done.stdout.splitlines() if line.startswith("eval/"))
    assert int(got["eval/count"]) == wanted["eval/count"] == 359
    assert float(got["eval/top1"]) == pytest.approx(wanted["eval/top1"], abs=1e-5)
    assert float(got["eval/loss"]) == pytest.approx(wanted["eval/loss"], rel=1e-4)


def test_a_run_resumes_on_another_number_of_devices(tmp_path):
    flags = small_flags(total_steps=2, **{"model.bn_group_size": 4})
    main_py(*flags, f"--workdir={tmp_path}", devices=8, check=True)
    flags = small_flags(total_steps=3, **{"model.bn_group_size": 4})
    main_py(*flags, f"--workdir={tmp_path}", devices=1, check=True)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]
