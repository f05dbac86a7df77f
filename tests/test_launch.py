"""The launch scripts, with commands that stand in for training."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.runs import ROOT

LAUNCH = ROOT / "launch"


def run_again(tmp_path, codes: str, **settings) -> tuple[int, list[str]]:
    """(exit code, codes of the starts) if the starts end with `codes`, one after the other."""
    (tmp_path / "codes").write_text(codes.replace(" ", "\n") + "\n")
    command = (
        f"cd {tmp_path}; code=$(head -n 1 codes); sed -i 1d codes; echo $code >> starts; exit $code"
    )
    done = subprocess.run(
        [LAUNCH / "run_again.sh", "bash", "-c", command],
        env={**os.environ, "PAUSE": "0", **settings}, timeout=30,
    )  # fmt: skip
    return done.returncode, (tmp_path / "starts").read_text().split()


@pytest.mark.parametrize(
    ("codes", "ends", "starts"),
    [
        ("0", 0, 1),
        ("2", 2, 1),
        ("75 75 75 75 75 75 75 0", 0, 8),
        ("1 134 137 0", 0, 4),
        ("1 1 1 1 1 1 1 1", 1, 5),
    ],
)
def test_a_run_is_started_again_until_it_is_done_or_keeps_failing(tmp_path, codes, ends, starts):
    code, started = run_again(tmp_path, codes)
    assert code == ends
    assert len(started) == starts


def test_a_signal_is_forwarded_and_the_command_waited_for(tmp_path):
    command = "trap 'sleep 0.5; echo saved; exit 75' TERM; echo up; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [LAUNCH / "run_again.sh", "bash", "-c", command], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "saved\n"
    assert process.wait(10) == 75


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"),
    [(0, 0, False), (2, 0, False), (75, 3, True), (1, 0, True), (1, 50, False)],
)
def test_a_slurm_job_is_requeued(tmp_path, code, restarts, requeued):
    for name, body in (("srun", f"exit {code}"), ("scontrol", f'echo "$@" > {tmp_path}/asked')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
        "SLURM_RESTART_COUNT": str(restarts),
    }  # fmt: skip
    done = subprocess.run([LAUNCH / "slurm.sh", "--config=x"], env=env, timeout=30)
    assert done.returncode == code
    asked = tmp_path / "asked"
    assert (asked.read_text() == "requeue 7\n") if requeued else not asked.exists()


def test_the_jobset_names_its_processes_consistently():
    yaml = pytest.importorskip("yaml")
    jobset = yaml.safe_load(Path(LAUNCH / "jobset.yaml").read_text())
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    count = spec["parallelism"]
    assert spec["completions"] == count
    assert f"--num_processes={count}" in container["command"]
    host = f"{jobset['metadata']['name']}-{job['name']}-0-0.{jobset['metadata']['name']}"
    assert f"--coordinator={host}:8476" in container["command"]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2]
    assert rule["onExitCodes"]["containerName"] == container["name"]
