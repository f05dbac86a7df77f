"""`python main.py` as a user types it, mistakes included."""

import signal
import subprocess
import sys

import pytest

from tests.runs import ROOT, main_py, metrics, small_flags, two_processes

DIGITS = "--config=configs/digits.py"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([DIGITS, "--config.optim.lrr=3"], "--config.optim.lrr is not a config key; did you"),
        ([DIGITS, "--config.optim.lr=fast"], "config.optim.lr=fast"),
        ([DIGITS, "--config.batch_size=7.5"], "config.batch_size=7.5"),
        ([DIGITS, "--wrkdir=x"], "Did you mean: workdir"),
        ([DIGITS, "--mode=evaluate"], "mode=evaluate"),
        ([DIGITS, "extra", "--workdir=x"], "unexpected argument 'extra'"),
        ([DIGITS], "--workdir is required"),
        (["--workdir=x"], "--config is required"),
        (["--config=configs/tinny.py", "--workdir=x"], "configs/tinny.py cannot be loaded"),
        (["--config=configs/tiny.py:debgu", "--workdir=x"], "unknown config variant 'debgu'"),
        ([DIGITS, "--workdir=s3://bucket/run"], "neither a folder nor in a bucket (gs://bucket/folder)"),
        ([DIGITS, "--workdir=/proc/nowhere"], "--workdir=/proc/nowhere cannot be written"),
        ([DIGITS, "--workdir=x", "--process_id=1"], "set all three or none"),
        ([DIGITS, "--workdir={empty}", "--mode=eval"], "holds no weights"),
        (
            ["--config=configs/tiny.py", "--workdir={empty}", "--config.data.dir={empty}"],
            "prepare imagenet2012",
        ),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_and_exit_code_2(flags, words, tmp_path):
    done = main_py(*(flag.format(empty=tmp_path) for flag in flags))
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    assert words in errors[0]
    assert not (tmp_path / "checkpoints").exists()
    assert not (ROOT / "x").exists()


def test_all_mistakes_are_told_at_once(tmp_path):
    flags = [DIGITS, "--config.optim.lr=-1", "--config.batch_size=33", "--config.on_nan=x"]
    done = main_py(*flags, "--config.model.bn_group_size=8")
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert len(errors) == 4
    for line, key in zip(errors, ("on_nan", "optim.lr", "batch_size", "--workdir"), strict=True):
        assert line.startswith("error: ")
        assert key in line


def test_the_help_page_needs_no_jax():
    code = "import sys, main; main.main(['main.py', '--help']); print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--workdir" in done.stdout
    assert "configs/digits.py" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", ["tiny", "digits"])
def test_a_plan_needs_neither_data_nor_workdir(name, tmp_path):
    data = [] if name == "digits" else [f"--config.data.dir={tmp_path}"]
    done = main_py(f"--config=configs/{name}.py", "--mode=plan", *data)
    assert done.returncode == 0, done.stderr
    assert "requested → resolved" in done.stdout
    assert "verdict: runs" in done.stdout
    assert not list(tmp_path.iterdir())


def test_two_processes_train_and_evaluate_as_one(tmp_path):
    """Two processes of two devices against one of one: the same losses and counts.

    An eps above the rounding of a zero gradient, which Adam would make a whole step of.
    """
    changes = {"total_steps": 3, "model.bn_group_size": 8, "data.workers": 0, "ema_decay": 0.9}
    flags = small_flags(**changes, **{"optim.eps": 1e-3})
    main_py(*flags, f"--workdir={tmp_path / 'one'}", check=True)
    two_processes(*flags, f"--workdir={tmp_path / 'two'}")
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in two] == [1, 2, 3]
    for mine, other in zip(one, two, strict=True):
        losses = [name for name in mine if name.endswith("/loss")]
        assert other["step"] != 3 or len(losses) == 3  # of training, weights and averages
        for name in losses:
            assert other[name] == pytest.approx(mine[name], rel=1e-5)
    assert two[-1]["eval/count"] == two[-1]["eval_ema/count"] == 359


def test_a_run_that_meets_a_nan_stops_with_step_and_checkpoint(tmp_path):
    flags = small_flags(**{"optim.lr": 1e30, "checkpoint.every_steps": 1, "total_steps": 9})
    done = main_py(*flags, f"--workdir={tmp_path}")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: loss or gradient is not finite at step ")
    assert "the last good checkpoint is step " in line


@pytest.mark.slow
def test_debug_nans_names_the_operation_of_a_real_run(tmp_path):
    flags = small_flags(**{"optim.lr": 1e30, "debug_nans": True, "total_steps": 9})
    done = main_py(*flags, f"--workdir={tmp_path}")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: not finite in step ")
    assert "inceptionnext_jax/" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_python_ends_leaves_the_exit_code(number):
    """Modules go after Python has given up its handlers; that takes a while with JAX in them."""
    code = (
        "import os, sys, main\n"
        "class Late:\n"
        f"    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, {int(number)})\n"
        "main.late = Late()\n"
        "sys.exit(main.main(['main.py', '--config=configs/none.py']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 2, done.stderr
