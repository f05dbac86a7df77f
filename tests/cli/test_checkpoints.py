"""The command `checkpoints`."""

import os

import numpy as np
import optax
import pytest

from inceptionnext_jax.__main__ import main
from inceptionnext_jax.checkpoints.evaluation import Evaluation
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.workdir.lock import Lock


@pytest.fixture
def workdir(tmp_path):
    """Steps 5, 10 and 15; 10 has lost the end of a file, 15 has a changed byte."""
    checkpoints = Checkpoints(
        tmp_path, keep_latest=3, keep_best=1, best_metric="eval/top1", higher_is_better=True
    )
    params = {"fc": {"kernel": np.ones((64, 64), np.float32)}}
    for step in (5, 10, 15):
        state = create_state({"params": params}, optax.identity(), ema=False)
        checkpoints.save(state, step, {})
        checkpoints.record(step, Evaluation({"eval/top1": step / 100}))
    checkpoints.wait()
    checkpoints.close()
    os.truncate(tmp_path / "checkpoints" / "10" / "meta" / "metadata", 1)
    path = next((tmp_path / "checkpoints" / "15" / "state" / "d").iterdir())
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    return tmp_path


def table(capsys):
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def test_steps_are_listed_with_size_metrics_and_state(workdir, capsys):
    assert main(["checkpoints", str(workdir)]) == 0
    lines = table(capsys)
    assert list(lines) == ["step", "15", "10", "5"]
    assert "complete" in lines["5"]
    assert "eval/top1 0.05" in lines["5"]
    assert " MiB " in lines["5"]
    assert "damaged: meta/metadata is 1 bytes, expected 2" in lines["10"]


def test_verify_reads_every_byte_and_exits_with_1_for_scripts(workdir, capsys):
    assert main(["checkpoints", str(workdir), "--verify"]) == 1
    lines = table(capsys)
    assert "verified" in lines["5"]
    assert "SHA-256 differs" in lines["15"]


def test_prune_deletes_damaged_steps_and_prints_them(workdir, capsys):
    (workdir / "checkpoints" / "20.orbax-checkpoint-tmp").mkdir()
    os.rename(workdir / "checkpoints" / "10", workdir / "checkpoints" / "10.damaged")
    assert main(["checkpoints", str(workdir), "--prune"]) == 0
    out = capsys.readouterr().out
    for name in ("15", "10.damaged", "20.orbax-checkpoint-tmp"):
        assert f"deleted {workdir / 'checkpoints' / name}" in out
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"5"}
    assert main(["checkpoints", str(workdir), "--verify"]) == 0


def test_a_workdir_in_use_is_not_pruned(workdir, capsys):
    lock = Lock.acquire(workdir)
    assert main(["checkpoints", str(workdir), "--prune"]) == 2
    assert "in use by another run" in capsys.readouterr().err
    lock.release()
    assert (workdir / "checkpoints" / "15").is_dir()


def test_an_empty_and_a_missing_workdir(tmp_path, capsys):
    assert main(["checkpoints", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("no checkpoints in ")
    assert main(["checkpoints", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
