"""Messages of failing runs, and the files they leave."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.errors import RunError, UserError
from inceptionnext_jax.runtime import multihost
from inceptionnext_jax.train.nans import first_non_finite
from inceptionnext_jax.train.out_of_memory import explaining_memory
from inceptionnext_jax.workdir.folder import explaining_storage_errors
from inceptionnext_jax.workdir.writers import JsonLines, read_metrics
from tests.runs import ROOT, metrics, run, small_config

NAN = "loss or gradient is not finite"


def test_out_of_memory_names_batch_estimate_and_remedies():
    class Plan:
        device_batch, devices, memory = 4, 8, "about 3 GiB a device"

    with (
        pytest.raises(RunError) as caught,
        explaining_memory(small_config(batch_size=32), Plan()),
    ):
        jnp.zeros((2**43,), jnp.uint8).block_until_ready()  # 8 TiB
    text = str(caught.value)
    for words in (
        "out of device memory: batch_size=32 is 4 images at a time on each of 8 devices",
        "about 3 GiB a device", "optim.accumulate=2", "model.remat=True",
        "compute_dtype=bfloat16", "mesh.fsdp=8", "RESOURCE_EXHAUSTED",
    ):  # fmt: skip
        assert words in text
    assert "\n" not in text


def test_debug_nans_names_the_first_operation():
    def function(x):
        return jax.jit(lambda y: (y - 1.0) * jnp.log(y))(x * 2.0).sum() + jnp.sqrt(-1.0)

    assert first_non_finite(function, jnp.array([1.0, -1.0])).startswith("log")
    assert first_non_finite(lambda x: x * 2.0, jnp.ones(3)) is None
    # Infinity as a constant is intended.
    assert first_non_finite(lambda x: jnp.maximum(x, -jnp.inf), jnp.ones(3)) is None
    assert first_non_finite(lambda x: x * 1e30 * 1e30, jnp.ones(3)).startswith("mul")


@pytest.mark.slow
def test_skipped_updates_are_counted_and_too_many_in_a_row_stop_the_run(tmp_path, monkeypatch):
    """Real steps whose loss is always NaN."""
    from inceptionnext_jax.tasks.classification import losses

    genuine = losses.softmax_loss

    def poisoned(logits, targets):
        bad = jnp.where(logits.sum() > -math.inf, jnp.nan, 0.0)
        return genuine(logits, targets) + bad

    monkeypatch.setitem(losses.LOSSES, "softmax", poisoned)
    changes = {"on_nan": "skip", "skip_limit": 2, "checkpoint.every_steps": 2}
    with pytest.raises(RunError) as caught:
        run(tmp_path, total_steps=9, **changes)
    text = str(caught.value)
    assert text.startswith(f"{NAN} 3 times in a row (skip_limit=2), at step 3 (lr ")
    assert "the last good checkpoint is step 2" in text
    assert [line["train/skipped_steps"] for line in metrics(tmp_path)] == [1, 2]
    assert [line["train/loss"] for line in metrics(tmp_path)] == [None, None]
    # The count continues after a restart.
    with pytest.raises(RunError, match=r"3 times in a row .* at step 3"):
        run(tmp_path, total_steps=9, **changes)


def test_a_disk_error_is_one_sentence(tmp_path):
    missing = r"/none/such cannot be used \(No such file or directory\)"
    with pytest.raises(RunError, match=missing), explaining_storage_errors(tmp_path):
        Path("/none/such").read_text()
    full = rf"{tmp_path} cannot be used \(No space left"
    with pytest.raises(RunError, match=full), explaining_storage_errors(tmp_path):
        raise OSError(28, "No space left on device")
    from gcsfs.retry import HttpError

    away = rf"{tmp_path} cannot be used \(Service unavailable, 503\)"
    with pytest.raises(RunError, match=away), explaining_storage_errors(tmp_path):
        raise HttpError({"message": "Service unavailable", "code": 503})
    with pytest.raises(ZeroDivisionError), explaining_storage_errors(tmp_path):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"), True),
        (RuntimeError("UNAVAILABLE: tasks are unhealthy (stopped sending heartbeats)"), True),
        (ValueError("operands could not be broadcast"), False),
        (UserError("data.dir=gloo is not a folder"), False),
    ],
)
def test_a_lost_process_is_distinguished_from_other_failures(error, lost):
    assert multihost.is_lost_process(error) == lost


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("a mistake"), 2, "error: a mistake"),
        (RunError("a fault"), 1, "error: a fault"),
        (RuntimeError("Connection closed by peer"), 1, f"error: {multihost.LOST}"),
        (KeyError("bug"), 1, "KeyError: 'bug'"),
    ],
)
def test_one_failing_process_of_several_always_ends(error, code, words):
    """Even if closing files on the way out would wait forever."""
    script = (
        "import jax, time, sys\n"
        "from inceptionnext_jax.runtime import multihost\n"
        "from inceptionnext_jax.errors import *\n"
        "jax.process_count = lambda: 2\n"
        "multihost.CLOSING_SECONDS = 0.5\n"
        "try:\n"
        "    with multihost.exit_together():\n"
        f"        raise {error!r}\n"
        "finally:\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == code
    assert words in done.stderr


def test_a_second_signal_ends_at_once_even_while_the_main_thread_is_blocked():
    script = (
        "import os, signal, threading, time, ctypes\n"
        "from inceptionnext_jax.runtime.preemption import PreemptionGuard\n"
        "stop = PreemptionGuard().__enter__(); stop.begin_work()\n"
        "def send():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.3)\n"
        "    print(stop.should_stop(), stop, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=send).start()\n"
        "ctypes.CDLL(None).sleep(30); ctypes.CDLL(None).sleep(30)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=25
    )
    assert done.stdout == "True SIGTERM\n"
    assert done.returncode == 128 + signal.SIGINT


def test_a_signal_before_there_is_work_ends_with_75():
    script = (
        "import os, signal, time\n"
        "from inceptionnext_jax.runtime.preemption import PreemptionGuard\n"
        "PreemptionGuard().__enter__(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=25
    )
    assert done.returncode == 75
    assert "stopped by SIGTERM before the first step" in done.stderr


@pytest.mark.parametrize(
    "tail", [b'{"step": 3, "tr', b"\xff\xfe\x00", b"[]\n", b'{"x": 1}\n', b"{" * 5000, b"null\n"]
)
def test_each_step_is_logged_once_whatever_a_crash_left(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n' + tail)
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    for _ in range(3):
        lines = JsonLines.open(tmp_path, after_step=1)
        lines.write(2, {"a": np.float64(3.0)})
        lines.write(2, {"b": math.nan})
        lines.write(3, {"a": 4.0})
        lines.close()
    assert [(line["step"], line.get("a")) for line in read_metrics(path)] == [
        (1, 1),
        (2, 3),
        (3, 4),
    ]
    assert read_metrics(path)[1]["b"] is None
