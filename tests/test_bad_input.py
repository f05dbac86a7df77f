"""Randomly damaged records and checkpoints, and bad command lines: sentences, never tracebacks."""

import os
import random
import shutil

import numpy as np
import optax
import pytest

from inceptionnext_jax.checkpoints import steps
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.data.tfrecord import load_or_build_index, masked_crc32c, read_payload
from inceptionnext_jax.errors import RunError, UserError
from inceptionnext_jax.train.state import create_state
from tests.runs import ROOT, main_py


def record(payload: bytes) -> bytes:
    def crc(data: bytes) -> bytes:
        return masked_crc32c(np.frombuffer(data, np.uint8)[None]).astype("<u4").tobytes()

    head = len(payload).to_bytes(8, "little")
    return head + crc(head) + payload + crc(payload)


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(1, len(changed)))
        kind = rng.randrange(4)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            changed[at : at + 4] = rng.randbytes(4)
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 40))
        else:
            del changed[at : at + rng.randint(1, 40)]
    return bytes(changed)


def test_damaged_records_are_read_or_refused_with_shard_and_offset(tmp_path, monkeypatch):
    """300 shards: each record is read, or refused by name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = random.Random(0)
    payloads = [rng.randbytes(rng.randint(0, 60)) for _ in range(8)]
    whole = b"".join(map(record, payloads))
    refused = []
    for number in range(300):
        shard = tmp_path / f"{number}.tfrecord"
        shard.write_bytes(damaged(whole, rng))
        try:
            index = load_or_build_index([shard], f"{number}.npz")
            for offset, length in zip(index.offsets, index.lengths, strict=True):
                assert len(read_payload(str(shard), int(offset), int(length))) == length
        except UserError as error:
            refused.append((str(shard), str(error)))
    assert 100 < len(refused) < 300
    for shard, text in refused:
        assert shard in text
        assert "at byte " in text


def test_a_damaged_index_is_rebuilt(tmp_path):
    shard, rng = tmp_path / "a.tfrecord", random.Random(0)
    shard.write_bytes(record(b"one") + record(b"two"))
    expected = load_or_build_index([shard], "a.npz")
    stored = (tmp_path / "a.npz").read_bytes()
    for _ in range(100):
        (tmp_path / "a.npz").write_bytes(damaged(stored, rng))
        again = load_or_build_index([shard], "a.npz")
        np.testing.assert_array_equal(again.offsets, expected.offsets)
        np.testing.assert_array_equal(again.lengths, expected.lengths)


def test_damaged_checkpoints_are_skipped_or_refused(tmp_path):
    """150 folders: a step is used only if none of its bytes changed."""
    whole, rng = tmp_path / "whole", random.Random(0)
    checkpoints = Checkpoints(
        whole, keep_latest=3, keep_best=1, best_metric="eval/top1", higher_is_better=True
    )
    for step in (1, 2, 3):
        params = {"fc": {"kernel": np.full((16, 16), step, np.float32)}}
        checkpoints.save(create_state({"params": params}, optax.identity(), ema=False), step, {})
        checkpoints.wait()
    checkpoints.close()
    refused = 0
    for number in range(150):
        workdir = tmp_path / str(number)
        shutil.copytree(whole, workdir)
        touched = set()
        for path in sorted((workdir / "checkpoints").rglob("*")):
            if path.is_file() and path.name != "commit_success.txt" and rng.random() < 0.08:
                before = path.read_bytes()
                path.write_bytes(damaged(before, rng))
                if path.read_bytes() != before:
                    touched.add(int(path.relative_to(workdir / "checkpoints").parts[0]))
        for name in ("abc", "\u00b2", "007", "-1", "9.orbax-checkpoint-tmp-0"):
            if rng.random() < 0.3:
                (workdir / "checkpoints" / name).mkdir()
        if rng.random() < 0.3:
            (workdir / "checkpoints" / "8").write_text("a file")
        good = {1, 2, 3} - touched
        try:
            assert steps.set_damaged_aside(workdir, warn=lambda text: None) == max(good)
        except RunError:
            assert not good
            refused += 1
        shutil.rmtree(workdir)
    assert 0 < refused < 100


D = "--config=configs/digits.py"
BAD_COMMANDS = [
    [D, "--config.batch_size=0"],
    [D, "--config.batch_size=-32"],
    [D, "--config.batch_size=99999999999999999999"],
    [D, "--config.batch_size=1e3"],
    [D, "--config.optim.lr=nan"],
    [D, "--config.optim.lr=inf"],
    [D, "--config.optim.lr="],
    [D, "--config.total_epochs=1e300"],
    [D, "--config.total_epochs=-inf"],
    [D, "--config.seed=-1"],
    [D, "--config.seed=4294967296"],
    [D, "--config.model.stage_depths=(1,1)"],
    [D, "--config.model.stage_depths=()"],
    [D, "--config.model.stage_depths=__import__('os').system('touch pwned')"],
    [D, "--config.model.name=../../etc/passwd"],
    [D, "--config.model.kernel_size=4"],
    [D, "--config.model.token_mixer=magic"],
    [D, "--config.model.output_stride=7"],
    [D, "--config.model.norm=none"],
    [D, "--config.data.image_size=1000000"],
    [D, "--config.data.image_size=1"],
    [D, "--config.data.name=;touch pwned"],
    [D, "--config.data.name=$(touch pwned)"],
    [D, "--config.data.name=../../etc"],
    [D, "--config.data.name=folder", "--config.data.dir=/nowhere"],
    [D, "--config.data.name=folder", "--config.data.train_split=../.."],
    [D, "--config.data.max_bad=2"],
    [D, "--config.augment.scale=(1,)"],
    [D, "--config.augment.scale=(0,0)"],
    [D, "--config.augment.ratio=('a','b')"],
    [D, "--config.optim.freeze=*("],
    [D, "--config.optim.freeze=nothing_is_called_so"],
    [D, "--config.init_from=/dev/null"],
    [D, "--config.init_from=/nowhere.safetensors"],
    [D, "--config.nothing.at.all=1"],
    [D, "--config.mesh.fsdp=3"],
    [D, "--config.skip_limit=-1"],
    [D, "--config.compute_dtype=int8"],
    [D, "--workdir=/dev/null/x"],
    [D, "--mode=eval", "--checkpoint=/nowhere"],
    [D, "--coordinator=here", "--num_processes=2", "--process_id=0"],
    [D, "--coordinator=localhost:1", "--num_processes=2", "--process_id=2"],
    ["--config=/dev/null"],
    ["--config=tests/test_bad_input.py"],
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", BAD_COMMANDS, ids=lambda flags: " ".join(flags)[:70])
def test_a_bad_command_line_is_refused_in_sentences_with_exit_code_2(flags, tmp_path):
    before = set(os.listdir(ROOT))
    workdir = tmp_path / "run"
    given = [] if any("--workdir" in flag for flag in flags) else [f"--workdir={workdir}"]
    done = main_py(*flags, *given, timeout=60)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert lines
    assert all(line.startswith("error: ") for line in lines), done.stderr
    assert set(os.listdir(ROOT)) == before
    assert not (workdir / "checkpoints").is_dir() or not os.listdir(workdir / "checkpoints")
