"""Runs that are killed, stopped, or lose disk space or their folder, as real commands."""

import os
import random
import shutil
import signal
import statistics
import subprocess
import time

import pytest

from benchmarks import faults
from tests.runs import main_py, metrics, run, small_flags

LOST = "error: another process of this run was lost; start all of them again"


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Digest and lines of an unbroken run by number of processes, computed when needed."""
    known = {}

    def reference(processes):
        if processes not in known:
            folder = tmp_path_factory.mktemp(f"unbroken{processes}")
            known[processes] = faults.reference(folder, processes)
        return known[processes]

    return reference


def assert_unbroken(life, reference):
    assert life.problems == []
    assert faults.digest(life.workdir) == reference["digest"]
    assert faults.logged(life.workdir) == reference["lines"]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, 14), (2, 6)])
def test_twenty_kills_leave_no_trace_in_the_result(references, tmp_path, processes, kills):
    done, number = 0, 0
    while done < kills:  # a life may end before all its kills
        life = faults.Life(
            tmp_path / str(number), processes, number % 2 == 0, 1, random.Random(number)
        )
        life.live(kills - done)
        assert_unbroken(life, references(processes))
        done, number = done + len(life.kills), number + 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_twenty_stops_lose_no_step(references, tmp_path, processes):
    """SIGTERM, and SIGINT now and then, to any of the processes, at a random moment."""
    rng, stopped, number = random.Random(processes), 0, 0
    while stopped < 20:
        life = faults.Life(tmp_path / str(number), processes, True, 1, rng)
        while (code := stop_once(life, rng)) == faults.STOPPED:
            stopped += 1
        assert code == 0
        assert_unbroken(life, references(processes))
        number += 1


def stop_once(life, rng) -> int:
    """Starts a run and asks it to stop; returns its exit code, the same on all processes."""
    group = life.start()
    before = faults.committed(life.workdir)
    # Before the first step nothing is saved, so only the other starts make progress.
    group.wait_for(rng.choice((r"(resumed|started) from", r"step ", r"step ")))
    group.ended.wait(rng.uniform(0.0, 1.5))
    group.signal(rng.choice((signal.SIGTERM, signal.SIGTERM, signal.SIGINT)),
                 rng.randrange(life.processes))  # fmt: skip
    codes = group.finish()
    assert len(set(codes)) == 1, (codes, group.errors())
    if codes[0] == faults.STOPPED:
        seen = max(group.last_step(), before)
        assert faults.committed(life.workdir) >= seen  # no reported step is lost
    return codes[0]


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_lost_process_ends_the_others_within_a_minute_by_one_line(tmp_path, victim):
    group = faults.Group(tmp_path, 2, small_flags(total_steps=500, **{"data.workers": 1}))
    assert group.wait_for("step 2 "), group.errors()
    group.signal(signal.SIGKILL, victim)
    began = time.monotonic()
    codes = group.finish(60)
    assert time.monotonic() - began < 60
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] not in (0, -signal.SIGKILL)
    lines = [line for line in group.errors()[1 - victim].splitlines() if "error: " in line]
    assert len(lines) == 1
    assert lines[0].startswith(LOST)
    assert group.processes_left() == 0


@pytest.mark.slow
def test_after_a_lost_process_both_resume_with_the_same_bits(references, tmp_path):
    life = faults.Life(tmp_path / "run", 2, True, 1, random.Random(0))
    for victim in (0, 1):
        group = life.start()
        assert group.wait_for(f"step {faults.committed(life.workdir) + 3} ")
        group.signal(signal.SIGKILL, victim)
        assert group.finish(60)[1 - victim] in (1, -signal.SIGABRT)
    life.live(0)
    assert_unbroken(life, references(2))


def test_the_reason_is_printed_when_jax_aborts_a_process(tmp_path):
    """Between collectives JAX aborts the process; a child prints the reason."""
    script = (
        "import sys, time, os, signal\n"
        "from inceptionnext_jax.runtime import multihost\n"
        "multihost.HEARTBEAT_SECONDS = 10\n"
        "index = int(sys.argv[1])\n"
        "multihost.initialize_distributed(sys.argv[2], 2, index)\n"
        "if index == 0: time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(100)\n"
    )
    address = faults.group_flags(2)[0].partition("=")[2]
    processes = [
        subprocess.Popen(
            [faults.sys.executable, "-c", script, str(index), address],
            cwd=faults.ROOT, env=faults.environment(), stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    errors = processes[1].communicate(timeout=60)[1]
    processes[0].communicate(timeout=60)
    assert processes[1].returncode not in (0, None)
    assert errors.count("error: JAX has ended this process; most likely another process") == 1


def test_a_second_run_in_one_workdir_is_refused_and_the_first_continues(tmp_path):
    group = faults.Group(tmp_path, 1, small_flags(total_steps=400, **{"log.every_steps": 1}))
    assert group.wait_for("step 1 ")
    second = main_py(*small_flags(total_steps=400), f"--workdir={tmp_path}")
    assert second.returncode == 2
    (line,) = second.stderr.strip().splitlines()
    assert "is in use by another run" in line
    group.signal(signal.SIGTERM, 0)
    assert group.finish() == [75]
    steps = [line["step"] for line in metrics(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MB; one checkpoint of the small run takes about 16."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)])
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_full_disk_ends_with_one_sentence_and_the_older_steps_whole(small_disk, asynchronous):
    changes = {
        "total_steps": 12,
        "checkpoint.every_steps": 2,
        "checkpoint.keep_latest": 9,
        "checkpoint.asynchronous": asynchronous,
        "log.tensorboard": True,
    }
    done = main_py(*small_flags(**changes), f"--workdir={small_disk}")
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: a checkpoint cannot be saved in ")
    assert "No space left on device" in line
    assert " are whole" in line
    assert faults.committed(small_disk) >= 2
    assert not list(small_disk.glob("checkpoints/*tmp*"))
    # With more space it resumes, although no file was repaired.
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    again = main_py(*small_flags(**changes), f"--workdir={small_disk}", check=True)
    assert f"resumed from step {line.split('steps ')[1].split(' are')[0].split(', ')[0]}" in (
        again.stdout
    )
    assert [line["step"] for line in metrics(small_disk)] == list(range(1, 13))


@pytest.mark.slow
def test_a_read_only_workdir_is_a_users_mistake(small_disk):
    main_py(*small_flags(total_steps=2), f"--workdir={small_disk}", check=True)
    before = {path: path.stat().st_mtime for path in small_disk.rglob("*")}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = main_py(*small_flags(total_steps=4), f"--workdir={small_disk}")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "cannot be written (Read-only file system)" in line
    assert {path: path.stat().st_mtime for path in small_disk.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize("what", [".", "checkpoints"])
def test_a_workdir_that_disappears_ends_with_one_sentence(tmp_path, what):
    workdir = tmp_path / "run"
    flags = small_flags(total_steps=500, **{"checkpoint.every_steps": 20, "eval.every_steps": 20})
    group = faults.Group(workdir, 1, flags)
    assert group.wait_for("step 25 ")
    shutil.rmtree(workdir / what, ignore_errors=True)
    assert group.finish(120) == [1]
    (line,) = group.errors()[0].strip().splitlines()
    assert line.startswith("error: ")
    assert str(workdir) in line


@pytest.mark.slow
def test_a_damaged_newest_step_is_named_and_the_one_before_is_taken(tmp_path):
    """The whole command; tests/checkpoints/test_damage.py has every kind of damage and file."""
    flags = small_flags(total_steps=10)
    main_py(*flags, f"--workdir={tmp_path}", check=True)
    unbroken = {line["step"]: line["train/loss"] for line in metrics(tmp_path)}
    target = max((tmp_path / "checkpoints" / "10" / "state" / "d").iterdir(), key=os.path.getsize)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 4
    target.write_bytes(data)
    done = main_py(*flags, f"--workdir={tmp_path}", check=True)
    (line,) = done.stderr.strip().splitlines()
    assert f"checkpoints/10 is damaged: state/d/{target.name} has other bytes" in line
    assert "resumed from step 5" in done.stdout
    assert {line["step"]: line["train/loss"] for line in metrics(tmp_path)} == unbroken
    assert (tmp_path / "checkpoints" / "10.damaged").is_dir()


@pytest.mark.slow
def test_two_thousand_steps_grow_by_less_than_two_percent(tmp_path):
    """Resident memory from step 500 on, with evaluations, checkpoints, TensorBoard and workers."""
    flags = small_flags(
        **{
            "total_steps": 2000, "model.stage_depths": (1, 1, 1, 1), "log.every_steps": 10,
            "checkpoint.every_steps": 100, "eval.every_steps": 100, "data.workers": 1,
            "log.tensorboard": True, "batch_size": 8,
        }
    )  # fmt: skip
    group = faults.Group(tmp_path, 1, flags)
    pid, early, late = group.processes[0].pid, [], []
    for found, first in ((early, 510), (late, 1910)):
        for step in range(first, first + 90, 20):  # none of them next to a checkpoint
            assert group.wait_for(rf"step {step} ", 900), group.errors()
            files = len(os.listdir(f"/proc/{pid}/fd"))
            found.append((resident(pid), files, faults.in_sessions({pid})))
    assert group.finish(900) == [0]
    before, after = (statistics.median(m for m, _, _ in found) for found in (early, late))
    print(f"{before} kB after step 500, {after} kB at the end: {after / before - 1:+.2%}")
    assert after < 1.02 * before, (early, late)
    for kind in (1, 2):  # open files, processes; a save may have some open for a moment
        assert min(row[kind] for row in late) <= min(row[kind] for row in early), (early, late)
    assert group.processes_left() == 0


def resident(pid: int) -> int:
    """Anonymous memory in kB, without mapped file pages."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["RssAnon"].split()[0])


@pytest.mark.slow
def test_a_stopped_evaluation_is_repeated_after_resuming(tmp_path, monkeypatch):
    """SIGTERM during an evaluation: saved at once, evaluated by the next start."""
    from inceptionnext_jax.train import evaluate

    asked = []

    def batches(self):
        for number, batch in enumerate(genuine(self)):
            if number == 1 and not asked:
                asked.append(os.kill(os.getpid(), signal.SIGTERM))
                time.sleep(0.2)
            yield batch

    genuine = evaluate.Evaluator._batches
    monkeypatch.setattr(evaluate.Evaluator, "_batches", batches)
    changes = {"total_steps": 4, "eval.every_steps": 2}
    assert run(tmp_path, **changes) == 75
    assert faults.committed(tmp_path) == 2
    assert "eval/loss" not in metrics(tmp_path)[-1]
    assert run(tmp_path, **changes) == 0
    assert [line["eval/count"] for line in metrics(tmp_path) if "eval/count" in line] == [359, 359]
