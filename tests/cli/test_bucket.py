"""Workdirs in a bucket: real runs against a local storage server."""

import json
import signal
import subprocess
import sys

import pytest

from benchmarks import faults
from inceptionnext_jax.convert.load import locate_source
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.workdir.storage import explaining_bucket_errors, storage_path
from tests.bucket import Bucket, serving
from tests.runs import ROOT, assert_same_arrays, main_py, saved_arrays, small_flags

# main.py for tests that cannot wait a minute until the lease of a killed run expires.
IMPATIENT = """
import sys, main
from inceptionnext_jax.workdir import bucket
bucket.RENEWAL_SECONDS, bucket.EXPIRY_SECONDS, bucket.SETTLING_SECONDS = 0.5, 3.0, 0.5
sys.exit(main.main(["main.py", *sys.argv[1:]]))
"""
CHANGES = {"checkpoint.every_steps": 2, "checkpoint.keep_latest": 3}


@pytest.fixture(scope="module")
def bucket():
    with serving() as found:
        yield found


def python(bucket: Bucket, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT, env=bucket.variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def train(bucket: Bucket, name: str, **changes) -> subprocess.CompletedProcess:
    flags = small_flags(**{**CHANGES, **changes})
    return python(bucket, "-c", IMPATIENT, *flags, f"--workdir={bucket.url}/{name}")


def errors(done: subprocess.CompletedProcess) -> list[str]:
    """The lines on stderr, without TensorStore's note on missing credentials."""
    return [line for line in done.stderr.splitlines() if "google_auth_provider" not in line]


def lines(bucket: Bucket, name: str) -> list[dict]:
    return [json.loads(line) for line in bucket.read(f"{name}/metrics.jsonl").splitlines()]


def arrays(bucket: Bucket, name: str, step: int, folder):
    bucket.fetch(f"{name}/checkpoints/{step}", folder / "checkpoints" / str(step))
    return saved_arrays(folder, step)


def test_a_run_writes_to_a_bucket(bucket):
    done = train(bucket, "runs/one", total_steps=4, **{"checkpoint.keep_latest": 1})
    assert done.returncode == 0, done.stderr
    assert errors(done) == []
    found = bucket.names("runs/one")
    logs = [name for name in found if not name.startswith("checkpoints/")]
    assert logs == ["DONE", "config.json", "confusion.png", "eval.json", "metrics.jsonl"]
    assert {name.split("/")[1] for name in found if name not in logs} == {"4"}
    assert [line["step"] for line in lines(bucket, "runs/one")] == [1, 2, 3, 4]
    listed = python(
        bucket, "-m", "inceptionnext_jax", "checkpoints", f"{bucket.url}/runs/one", "--verify"
    )
    assert listed.returncode == 0, listed.stderr
    assert "verified" in listed.stdout


@pytest.mark.slow
def test_a_run_killed_in_a_bucket_resumes_with_the_same_bits(bucket, tmp_path):
    flags = small_flags(total_steps=60, **CHANGES)
    unbroken = main_py(*flags, f"--workdir={tmp_path / 'unbroken'}")
    assert unbroken.returncode == 0, unbroken.stderr
    group = faults.Group(f"{bucket.url}/killed", 1, flags, bucket.variables)
    assert group.wait_for("step 9 "), group.errors()
    group.signal(signal.SIGKILL, 0)
    group.finish()
    assert ".lock" in bucket.names("killed")
    again = train(bucket, "killed", total_steps=60)
    assert again.returncode == 0, again.stderr
    assert "resumed from step " in again.stdout
    assert_same_arrays(
        arrays(bucket, "killed", 60, tmp_path / "killed"), saved_arrays(tmp_path / "unbroken", 60)
    )
    assert [line["step"] for line in lines(bucket, "killed")] == list(range(1, 61))
    assert ".lock" not in bucket.names("killed")
    # Parts of unfinished saves are gone.
    steps = {name.split("/")[1] for name in bucket.names("killed") if name.startswith("checkp")}
    assert steps == {"56", "58", "60"}


@pytest.mark.slow
def test_a_changed_object_is_named_and_the_step_before_is_taken(bucket):
    assert train(bucket, "changed", total_steps=4).returncode == 0
    folder = "changed/checkpoints/4/state/d"
    (name,) = bucket.names(folder)
    data = bytearray(bucket.read(f"{folder}/{name}"))
    data[len(data) // 2] ^= 4
    bucket.write(f"{folder}/{name}", bytes(data))
    done = train(bucket, "changed", total_steps=6)
    assert done.returncode == 0, done.stderr
    (line,) = errors(done)
    assert f"checkpoints/4 is damaged: state/d/{name} has other bytes" in line
    assert "resumed from step 2" in done.stdout
    assert any(name.startswith("checkpoints/4.damaged/") for name in bucket.names("changed"))


@pytest.mark.slow
def test_an_unfinished_save_is_not_a_step(bucket):
    assert train(bucket, "unfinished", total_steps=2).returncode == 0
    bucket.write("unfinished/checkpoints/4/state/_METADATA", b"{}")
    done = train(bucket, "unfinished", total_steps=4)
    assert done.returncode == 0, done.stderr
    assert errors(done) == []
    assert "resumed from step 2" in done.stdout
    assert "checkpoints/4/commit_success.txt" in bucket.names("unfinished")


@pytest.mark.slow
def test_weights_are_read_from_a_bucket(bucket, tmp_path):
    source = f"{bucket.url}/weights"
    assert train(bucket, "weights", total_steps=2).returncode == 0
    done = train(bucket, "weights", total_steps=2)  # nothing left to do
    assert "done: step 2 of 2" in done.stdout
    other = train(bucket, "other", total_steps=1, init_from=f"{source}/checkpoints/2")
    assert other.returncode == 0, other.stderr
    evaluated = python(
        bucket, "-c", IMPATIENT, *small_flags(), f"--workdir={source}", "--mode=eval"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "eval/count 359" in evaluated.stdout
    target = tmp_path / "converted"
    command = ["-m", "inceptionnext_jax", "convert", "--from", source, "--to", str(target)]
    converted = python(bucket, *command)
    assert converted.returncode == 0, converted.stderr
    assert (target / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_second_run_in_a_bucket_is_refused_and_the_first_continues(bucket):
    flags = small_flags(total_steps=4000, **CHANGES)
    group = faults.Group(f"{bucket.url}/twice", 1, flags, bucket.variables)
    assert group.wait_for("step 3 "), group.errors()
    second = python(bucket, "main.py", *flags, f"--workdir={bucket.url}/twice")
    assert second.returncode == 2, second.stderr
    assert "is in use by another run" in errors(second)[-1]
    group.signal(signal.SIGTERM, 0)
    assert group.finish() == [75]
    steps = [line["step"] for line in lines(bucket, "twice")]
    assert steps == list(range(1, len(steps) + 1))
    assert ".lock" not in bucket.names("twice")


@pytest.mark.slow
def test_two_processes_write_one_bucket(bucket, tmp_path):
    flags = small_flags(total_steps=4, **CHANGES)
    group = faults.Group(f"{bucket.url}/two", 2, flags, bucket.variables)
    assert group.finish() == [0, 0], group.errors()
    local = faults.Group(tmp_path / "local", 2, flags)
    assert local.finish() == [0, 0], local.errors()
    assert_same_arrays(
        arrays(bucket, "two", 4, tmp_path / "two"), saved_arrays(tmp_path / "local", 4)
    )


def test_weight_files_in_a_bucket_are_not_read():
    with pytest.raises(UserError, match="only runs are read from a bucket"):
        locate_source("gs://bucket/weights.safetensors")


def test_a_bucket_out_of_reach_is_one_sentence():
    from gcsfs.retry import HttpError

    refused = pytest.raises(UserError, match=r"gs://b/run cannot be read \(Forbidden, 403\); check")
    with refused, explaining_bucket_errors(storage_path("gs://b/run")):
        raise HttpError({"message": "Forbidden", "code": 403})


@pytest.mark.slow
def test_a_missing_bucket_is_a_users_mistake(bucket):
    done = python(bucket, "main.py", *small_flags(), "--workdir=gs://nowhere/run")
    assert done.returncode == 2, done.stderr
    (line,) = errors(done)
    assert line.startswith("error: --workdir=gs://nowhere/run cannot be written (")


@pytest.mark.parametrize("given", ["s3://bucket/run", "http://host/run"])
def test_other_schemes_are_refused(given):
    with pytest.raises(UserError, match="is neither a folder nor in a bucket"):
        storage_path(given)


def test_a_bucket_needs_its_package_and_a_name(monkeypatch):
    with pytest.raises(UserError, match="names no bucket"):
        storage_path("gs://")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs the package gcsfs; run: pip install -e '\.\[gcs\]'"
    ):
        storage_path("gs://bucket/run")
