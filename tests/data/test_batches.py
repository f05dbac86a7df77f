import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inceptionnext_jax.data import Example, eval_batches, open_dataset, train_batches
from inceptionnext_jax.data.batches import CHUNK_ROWS
from inceptionnext_jax.errors import UserError
from tests.data.batches import assert_same, eval_transforms, read_train, train_transforms
from tests.tiny_imagenet import REPOSITORY


class Numbered:
    """Images whose every pixel and whose label tell the example's number."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return Example(np.full((8, 8, 3), index % 251, np.uint8), index, f"number {index}")


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits")


def test_batch_has_the_promised_shapes_and_types(digits):
    (batch,) = read_train(digits.train, batch_size=6, stop=1, size=24)
    assert batch["image"].shape == (6, 24, 24, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].shape == (6,)
    assert batch["label"].dtype == np.int32


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_gives_the_same_global_batch(digits, processes):
    batch_size = 80
    whole = read_train(digits.train, batch_size=batch_size, start=15, stop=19)
    parts = [
        read_train(digits.train, batch_size=batch_size, start=15, stop=19, positions=positions)
        for positions in np.split(np.arange(batch_size), processes)
    ]
    joined = [
        {key: np.concatenate([part[step][key] for part in parts]) for key in whole[step]}
        for step in range(len(whole))
    ]
    assert_same(whole, joined)


def test_positions_may_come_in_any_order(digits):
    order = np.random.default_rng(0).permutation(40)
    (whole,) = read_train(digits.train, batch_size=40, stop=1)
    (mixed,) = read_train(digits.train, batch_size=40, stop=1, positions=order)
    np.testing.assert_array_equal(mixed["image"], whole["image"][order])


def test_starting_later_continues_the_same_sequence(digits):
    # 1,438 // 100 = 14 steps an epoch: the jump is over an epoch's end.
    whole = read_train(digits.train, batch_size=100, start=0, stop=17)
    assert_same(whole[13:], read_train(digits.train, batch_size=100, start=13, stop=17))


@pytest.mark.parametrize("workers", [1, 4])
def test_worker_processes_do_not_change_the_batches(digits, workers):
    batch_size = 2 * CHUNK_ROWS + 5
    assert_same(
        read_train(digits.train, batch_size=batch_size, start=18, stop=24),
        read_train(digits.train, batch_size=batch_size, start=18, stop=24, workers=workers),
    )


def test_seeds_and_steps_differ(digits):
    a, b = read_train(digits.train, batch_size=50, stop=2)
    (c,) = read_train(digits.train, batch_size=50, stop=1, seed=8)
    assert (a["image"] != b["image"]).any()
    assert (a["image"] != c["image"]).any()


def test_an_image_is_cropped_differently_in_each_epoch():
    class OneImage(Numbered):
        def __getitem__(self, index):
            return Example(np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8), 0, "")

    batches = read_train(OneImage(4), batch_size=4, stop=5)
    images = np.concatenate([batch["image"] for batch in batches])
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20


def test_each_epoch_shows_no_example_twice_and_has_its_own_order():
    length, batch_size = 103, 10
    batches = read_train(Numbered(length), batch_size=batch_size, stop=30)
    epochs = [np.concatenate([b["label"] for b in batches[e * 10 : e * 10 + 10]]) for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 100
        assert epoch.max() < length
    assert not np.array_equal(epochs[0], epochs[1])
    assert len({tuple(sorted(set(range(length)) - set(e.tolist()))) for e in epochs}) == 3


@pytest.mark.parametrize(("length", "batch_size"), [(10, 4), (8, 4), (3, 8), (CHUNK_ROWS + 3, 40)])
@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_shows_every_example_exactly_once(length, batch_size, processes):
    seen, counts = [], []
    for positions in np.split(np.arange(batch_size), processes):
        with eval_batches(
            Numbered(length),
            eval_transforms(8, crop_pct=1.0),
            batch_size=batch_size,
            positions=positions,
            workers=0,
        ) as batches:
            batches = list(batches)
        counts.append(len(batches))
        for batch in batches:
            real = batch["mask"] == 1
            seen += batch["index"][real].tolist()
            np.testing.assert_array_equal(batch["label"][real], batch["index"][real])
            np.testing.assert_array_equal(batch["image"][real][:, 0, 0, 0], batch["index"][real])
            assert (batch["index"][~real] == -1).all()
            assert not batch["label"][~real].any()
            assert not batch["image"][~real].any()
            assert batch["mask"].dtype == np.float32
    assert sorted(seen) == list(range(length))
    assert set(counts) == {-(-length // batch_size)}


def test_evaluation_with_workers_equals_evaluation_without(digits):
    def read(workers):
        with eval_batches(
            digits.eval,
            eval_transforms(28, crop_pct=0.9),
            batch_size=100,
            positions=np.arange(100),
            workers=workers,
        ) as batches:
            return list(batches)

    assert_same(read(0), read(2))


class Damaged(Numbered):
    def __getitem__(self, index):
        return Example(b"\xff\xd8 no picture", 0, f"number {index}")


@pytest.mark.parametrize("workers", [0, 1])
def test_undecodable_image_is_named(workers):
    with pytest.raises(UserError, match="cannot decode number"):
        read_train(Damaged(8), batch_size=4, stop=1, workers=workers)


def test_user_mistakes_are_named(digits):
    with pytest.raises(UserError, match="batch_size=2000 is larger than the 1438 training images"):
        read_train(digits.train, batch_size=2000, stop=1)
    with pytest.raises(UserError, match="no training split"):
        read_train(None, batch_size=4, stop=1)
    with pytest.raises(UserError, match="did you mean bicubic"):
        train_batches(
            digits.train,
            train_transforms(8, interpolation="bicubik"),
            seed=0,
            batch_size=4,
            positions=np.arange(4),
            start_step=0,
            workers=0,
        )


def mapped_by_others(name):
    """Whether another process uses this block of shared memory: other tests run beside this."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if maps.parent.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                if name in maps.read_text():
                    return True
    return False


def test_closing_ends_the_worker_processes_and_frees_shared_memory(digits):
    def shared():
        names = {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}
        return {name for name in names if not mapped_by_others(name)}

    before = shared()
    for stop in (None, 4):  # ended in the middle, and at the end
        batches = train_batches(
            digits.train,
            train_transforms(32),
            seed=0,
            batch_size=64,
            positions=np.arange(64),
            start_step=0,
            stop_step=stop,
            workers=1,
        )
        for _ in range(4):
            next(batches)
        batches.close()
        with pytest.raises(StopIteration):
            next(batches)
    assert not multiprocessing.active_children()
    for _ in range(50):  # Grain frees in a thread
        if not shared() - before:
            break
        time.sleep(0.1)
    assert not shared() - before


def test_importing_the_room_needs_neither_tensorflow_nor_torch_nor_flax():
    code = (
        "import sys, inceptionnext_jax.data;"
        "print([m for m in ('tensorflow', 'torch', 'tensorflow_datasets', 'sklearn')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
