"""Every kind of damage to every kind of file in a checkpoint: found, reported and survived."""

import os
import random
import shutil
import time

import numpy as np
import optax
import pytest

from inceptionnext_jax.checkpoints import steps
from inceptionnext_jax.checkpoints.evaluation import NAME as EVALUATION
from inceptionnext_jax.checkpoints.evaluation import Evaluation, read_evaluation
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.checkpoints.manifest import NAME, find_damage
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import RunError, UserError
from inceptionnext_jax.train.state import create_state


def state(value: float):
    params = {"fc": {"kernel": np.full((64, 64), value, np.float32)}}
    return create_state({"params": params}, optax.scale_by_adam(), ema=False)


def open_checkpoints(workdir):
    return Checkpoints(
        workdir,
        keep_latest=2,
        keep_best=1,
        best_metric="eval/top1",
        higher_is_better=True,
    )


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two_steps")
    checkpoints = open_checkpoints(workdir)
    for step in (1, 2):
        checkpoints.save(state(float(step)), step, {"step": step})
        checkpoints.record(step, Evaluation({"eval/top1": step / 10}))
    checkpoints.wait()
    checkpoints.close()
    return workdir


@pytest.fixture
def workdir(two_steps, tmp_path):
    return shutil.copytree(two_steps, tmp_path / "workdir")


def truncate(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def overwrite(path, rng):
    data = bytearray(path.read_bytes())
    start = rng.randrange(max(1, len(data) - 256))
    data[start : start + 256] = rng.randbytes(min(256, len(data)))
    path.write_bytes(data)


def flip_a_bit(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def empty(path, rng):
    path.write_bytes(b"")


def delete(path, rng):
    path.unlink()


DAMAGES = (truncate, overwrite, flip_a_bit, empty, delete)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_is_found_and_the_step_before_is_taken(workdir, damage, capsys):
    rng = random.Random(damage.__name__)
    newest = workdir / "checkpoints" / "2"
    files = sorted(
        path
        for path in newest.rglob("*")
        if path.is_file() and path.name not in ("commit_success.txt", EVALUATION)
    )
    assert {"MANIFEST.json", "_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"} <= {
        path.name for path in files
    }
    for path in [path for path in files if path.stat().st_size]:
        before = path.read_bytes()
        damage(path, rng)
        assert steps.set_damaged_aside(workdir) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"warning: checkpoint {newest} is damaged: ")
        named = path.relative_to(newest).as_posix()
        assert named in line or path.name == NAME
        assert line.endswith("; kept as 2.damaged, resuming from step 1")
        os.rename(workdir / "checkpoints" / "2.damaged", newest)
        path.write_bytes(before)
    assert steps.set_damaged_aside(workdir) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_evaluation_counts_as_none_and_the_step_stays_whole(workdir, damage):
    newest = workdir / "checkpoints" / "2"
    assert read_evaluation(newest).scores == {"eval/top1": 0.2}
    damage(newest / EVALUATION, random.Random(1))
    assert read_evaluation(newest) is None
    assert find_damage(newest) is None


def test_a_missing_item_and_an_unknown_file_are_damage(workdir):
    newest = workdir / "checkpoints" / "2"
    (newest / "state" / "unknown").write_text("x")
    assert find_damage(newest) == "state/unknown does not belong there"
    shutil.rmtree(newest / "state")
    assert steps.newest_undamaged(workdir).name == "1"
    shutil.rmtree(newest)
    newest.mkdir()
    assert find_damage(newest) == f"{NAME} is missing"


def test_a_run_resumes_from_the_undamaged_step_and_saves_the_damaged_number_again(workdir):
    flip_a_bit(next((workdir / "checkpoints" / "2" / "state" / "d").iterdir()), random.Random(0))
    checkpoints = open_checkpoints(workdir)
    assert checkpoints.latest_step() == 1
    checkpoints.save(state(5.0), 2, {"step": 2})
    checkpoints.wait()
    checkpoints.close()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == [
        "1", "2", "2.damaged",
    ]  # fmt: skip
    variables, _, meta = load_weights(workdir, "inceptionnext_atto")
    assert variables["params"]["fc"]["kernel"][0, 0] == 5.0
    assert meta["step"] == 2


def test_a_damaged_older_step_is_set_aside(workdir, capsys):
    (workdir / "checkpoints" / "1" / "meta" / "metadata").write_text("{")
    assert open_checkpoints(workdir).latest_step() == 2
    assert "meta/metadata is 1 bytes, expected" in capsys.readouterr().err
    assert (workdir / "checkpoints" / "1.damaged").is_dir()


def test_only_damaged_steps_are_an_error_at_every_start(workdir):
    for step in ("1", "2"):
        (workdir / "checkpoints" / step / NAME).unlink()
    for _ in range(2):
        with pytest.raises(RunError, match=r"no checkpoint in .* is whole .2: MANIFEST.json is mi"):
            open_checkpoints(workdir)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"1", "2"}
    with pytest.raises(RunError, match="no checkpoint"):
        load_weights(workdir, "inceptionnext_atto")
    with pytest.raises(UserError, match=r"checkpoints/2 is damaged: MANIFEST.json is missing"):
        load_weights(workdir / "checkpoints" / "2", "inceptionnext_atto")
    # Renamed steps still show that there was a run.
    for step in ("1", "2"):
        os.rename(workdir / "checkpoints" / step, workdir / "checkpoints" / f"{step}.damaged")
    with pytest.raises(RunError, match="set aside before"):
        open_checkpoints(workdir)


def test_leftovers_of_a_killed_run_are_removed(workdir):
    folder = workdir / "checkpoints"
    for name in ("3.orbax-checkpoint-tmp", "trash/0"):
        shutil.copytree(folder / "1", folder / name)
    open_checkpoints(workdir).close()
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_a_missing_folder_ends_the_run_with_one_sentence(workdir):
    checkpoints = open_checkpoints(workdir)
    shutil.rmtree(workdir)
    with pytest.raises(RunError, match=r"cannot be saved .*the folder is gone"):
        checkpoints.save(state(0.0), 3, {})
    checkpoints.close()
    assert not workdir.exists()


def test_a_save_that_fails_in_the_background_is_reported_at_the_next_step(workdir, monkeypatch):
    from inceptionnext_jax.checkpoints import manifest

    def full(folder):
        raise OSError(28, "No space left on device")

    checkpoints = open_checkpoints(workdir)
    monkeypatch.setattr(manifest, "write_manifest", full)
    checkpoints.save(state(0.0), 3, {})
    while checkpoints._manager.is_saving_in_progress():
        time.sleep(0.01)
    with pytest.raises(RunError, match=r"No space left on device.; steps 2, 1 are whole"):
        checkpoints.check()
    checkpoints.close()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["1", "2"]
