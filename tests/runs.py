"""Small real runs for tests: digits, a tiny InceptionNeXt, the whole command."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
CACHE = Path(tempfile.gettempdir()) / "inceptionnext_jax_tests" / "xla"
SMALL = {
    "compilation_cache": str(CACHE),
    "model.stage_depths": (1, 1, 1, 1),
    "model.depthwise_impl": "conv",  # compiles in half the time; the results are the same
    "model.drop_path_rate": 0.2,
    "batch_size": 32,
    "optim.lr_batch_size": 32,
    "total_steps": 10,
    "log.every_steps": 1,
    "log.tensorboard": False,
    "checkpoint.every_steps": 5,
    "eval.every_steps": 0,
    "augment.interpolation": "bicubic",
}


def small_config(**changes: Any):
    """configs/digits.py, shrunk; keys with dots given as {"optim.lr": …} in `changes`."""
    from configs import digits

    config = digits.get_config()
    config.update_from_flattened_dict({**SMALL, **changes})
    return config


def run(workdir: Path, mode: str = "train", checkpoint: str | None = None, **changes: Any) -> int:
    """Runs the job in this process (eight devices) and returns its exit code."""
    from inceptionnext_jax.cli.job import run_job

    return run_job(small_config(**changes), str(workdir), mode, checkpoint)


def main_py(
    *flags: str, devices: int = 1, check: bool = False, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Runs `python main.py …` as a user would, in a process of its own."""
    return subprocess.run(
        [sys.executable, "main.py", *flags],
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        check=check,
        timeout=timeout,
    )


def two_processes(*flags: str, devices: int = 2, timeout: float = 300) -> None:
    """Runs `python main.py …` as two processes of one run; both must succeed."""
    port = 20_000 + os.getpid() % 20_000
    group = [f"--coordinator=localhost:{port}", "--num_processes=2"]
    processes = [
        subprocess.Popen(
            [sys.executable, "main.py", *flags, *group, f"--process_id={index}"],
            cwd=ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=timeout)
        assert process.returncode == 0, errors.decode()


def killed_at_random(flags: Sequence[str], kills: int) -> None:
    """Runs main.py with SIGKILLs after its start, and to the end."""
    rng = random.Random(0)
    command = [sys.executable, "main.py", *flags]
    for _ in range(kills):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        )
        started = any(
            "started from" in line or "resumed from" in line for line in process.stdout or ()
        )
        if not started:  # it had finished
            break
        time.sleep(rng.uniform(0, 8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    main_py(*flags, check=True)


def environment(devices: int = 1) -> dict[str, str]:
    """The variables of a child process; the last of two flags of one name counts."""
    # Level 0: these programs are compiled for a few steps.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def small_flags(**changes: Any) -> list[str]:
    """`small_config` as flags of main.py."""
    pairs = {**SMALL, **changes}.items()
    return ["--config=configs/digits.py", *(f"--config.{key}={value}" for key, value in pairs)]


def metrics(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def saved_arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by path."""
    import jax
    import orbax.checkpoint as ocp

    from inceptionnext_jax import trees

    folder = workdir / "checkpoints" / str(step) / "state"
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), dict(tree)
        )
        restored = checkpointer.restore(
            folder,
            args=ocp.args.PyTreeRestore(
                item=wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted)
            ),
        )
    return {path: np.asarray(leaf) for path, leaf in trees.paths_and_leaves(restored)}


def assert_same_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """The same paths and, bit for bit, the same values."""
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def untrained(workdir: Path, config: Any, scores: dict[str, float] | None = None) -> dict[str, Any]:
    """Writes what a run of this config leaves, with random weights; returns these."""
    import optax

    from inceptionnext_jax.checkpoints.evaluation import Evaluation
    from inceptionnext_jax.checkpoints.manager import Checkpoints
    from inceptionnext_jax.tasks import task_kind
    from inceptionnext_jax.train.state import create_state
    from inceptionnext_jax.workdir.description import describe
    from tests.models.oracle import random_variables

    kind = task_kind(config.task)
    task = kind.build(config, kind.open_data(config)).task
    variables = random_variables(task.model)
    state = create_state(variables, optax.identity(), False)
    metric = config.checkpoint.best_metric
    checkpoints = Checkpoints(
        workdir, keep_latest=1, keep_best=0, best_metric=metric, higher_is_better=True
    )
    checkpoints.save(state, 1, {**describe(config, {}), **task.metadata()})
    checkpoints.record(1, Evaluation(scores or {}))
    checkpoints.close()
    return variables
