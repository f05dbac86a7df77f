import pickle
from collections import Counter

import numpy as np
import pytest

from inceptionnext_jax.data.aspect_order import AspectEpochs, aspect_epochs, canvas_numbers
from inceptionnext_jax.data.batches import train_batches
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.transform import ArraySpec

WIDE, HIGH, SQUARE = (800, 1344), (1344, 800), (1344, 1344)


def shown(order, start, stop):
    """The group and the examples of each step."""
    steps = range(start, stop)
    return [
        (order.transform(step), [order.index(step, p) for p in range(order.batch_size)])
        for step in steps
    ]


def mixed(wide, high, seed=0):
    """Canvas numbers of `wide` + `high` images in some order."""
    return np.random.default_rng(seed).permutation(np.repeat([0, 1], [wide, high]))


@pytest.mark.parametrize(
    ("wide", "high", "batch"), [(70, 33, 8), (50, 3, 16), (7, 5, 12), (9, 0, 4)]
)
def test_each_batch_has_one_canvas_and_each_image_comes_once_before_it_comes_again(
    wide, high, batch
):
    canvas_of = mixed(wide, high)
    order = aspect_epochs(3, batch, canvas_of)
    steps = 10 * (wide + high) // batch
    batches = shown(order, 0, steps)
    for canvas, examples in batches:
        assert set(canvas_of[examples]) == {canvas}
    # The batches of an epoch are shuffled, so counts may differ by what the open epoch holds.
    counts = Counter(example for _, examples in batches for example in examples)
    for canvas, size in ((0, wide), (1, high)):
        members = [counts[example] for example in np.flatnonzero(canvas_of == canvas).tolist()]
        assert len(members) == size
        assert not members or max(members) - min(members) <= 2
        assert not members or min(members) >= 8


def test_an_epoch_of_whole_batches_shows_every_image_once():
    canvas_of = mixed(40, 24)
    order = aspect_epochs(1, 8, canvas_of)  # 5 and 3 batches an epoch: epochs end together
    patterns = set()
    for epoch in range(10):
        batches = shown(order, 8 * epoch, 8 * epoch + 8)
        assert Counter(canvas for canvas, _ in batches) == {0: 5, 1: 3}
        assert sorted(e for _, examples in batches for e in examples) == list(range(64))
        patterns.add(tuple(canvas for canvas, _ in batches))
    assert len(patterns) > 5
    assert shown(order, 0, 8) != shown(order, 8, 16)


def test_canvases_come_in_random_order_and_in_their_share():
    order = aspect_epochs(5, 4, mixed(300, 100))
    canvases = [order.transform(step) for step in range(1000)]
    assert np.mean(canvases) == pytest.approx(0.25, abs=0.01)
    runs = np.diff(np.flatnonzero(np.diff(canvases)))
    assert len(set(runs.tolist())) > 5


def test_a_step_is_a_function_of_seed_and_step_alone():
    canvas_of = mixed(61, 26)
    straight = shown(aspect_epochs(2, 8, canvas_of), 0, 60)
    resumed = pickle.loads(pickle.dumps(aspect_epochs(2, 8, canvas_of)))
    assert shown(resumed, 37, 60) == straight[37:]
    assert shown(resumed, 5, 9) == straight[5:9]
    assert shown(aspect_epochs(4, 8, canvas_of), 0, 60) != straight
    far = aspect_epochs(2, 8, canvas_of)
    assert len(shown(far, 10**9, 10**9 + 3)) == 3  # without going through the steps before


def test_full_size_data_need_little_time_for_a_step():
    canvas_of = mixed(86_000, 31_266)
    order = aspect_epochs(0, 16, canvas_of)
    epoch = shown(order, 0, 7329)
    counts = Counter(example for _, examples in epoch for example in examples)
    assert len(counts) > 117_266 - 32
    assert sum(counts.values()) - len(counts) < 32  # the ends of both rows begin their next epoch


def test_groups_reach_the_transforms_of_batches():
    class Source:
        def __len__(self):
            return 20

        def __getitem__(self, index):
            return Example(np.zeros((1, 1, 3), np.uint8), index, str(index))

    class Shape:
        def __init__(self, width):
            self.spec, self.num_uniforms = {"x": ArraySpec((width,), "int32")}, 0

        def __call__(self, example, uniforms):
            return {"x": np.full(self.spec["x"].shape, example.label, np.int32)}

    canvas_of = mixed(13, 7)
    order = aspect_epochs(0, 4, canvas_of)
    with train_batches(
        Source(),
        (Shape(2), Shape(3)),
        seed=0,
        batch_size=4,
        positions=np.arange(4),
        start_step=3,
        stop_step=9,
        workers=0,
        order=order,
    ) as batches:
        for step, batch in zip(range(3, 9), batches, strict=True):
            canvas = order.transform(step)
            assert batch["x"].shape == (4, 2 + canvas)
            assert batch["x"][:, 0].tolist() == [order.index(step, p) for p in range(4)]
            assert set(canvas_of[batch["x"][:, 0]]) == {canvas}


@pytest.mark.parametrize(
    ("size", "canvases", "expected"),
    [
        ((480, 640), (WIDE, HIGH), 0),
        ((640, 480), (WIDE, HIGH), 1),
        ((500, 500), (WIDE, HIGH), 0),  # as mmdetection: a square is with the wide ones
        ((500, 500), (HIGH, WIDE), 0),
        ((640, 480), (WIDE, SQUARE, HIGH), 2),  # the smallest that holds it
        ((640, 480), (WIDE, SQUARE), 1),
        ((480, 640), (SQUARE,), 0),
        ((100, 4000), (SQUARE, WIDE), 1),
        ((640, 480), ((320, 448), (448, 320)), 1),  # both too small: where it is larger
    ],
)
def test_canvas_is_the_smallest_that_holds_the_resized_image(size, canvases, expected):
    sizes = np.array([size, size[::-1], size])
    assert canvas_numbers(sizes, (1333, 800), canvases)[[0, 2]].tolist() == [expected] * 2
    assert canvas_numbers(np.zeros((0, 2), int), (1333, 800), canvases).shape == (0,)


def test_orders_of_groups_by_hand():
    order = AspectEpochs(0, 2, (np.array([5, 7]), np.array([9])), (3, 1))
    batches = shown(order, 0, 30)
    assert {canvas for canvas, _ in batches} == {1, 3}
    assert all(sorted(e) == [5, 7] for canvas, e in batches if canvas == 3)
    assert all(e == [9, 9] for canvas, e in batches if canvas == 1)
    assert sum(canvas == 3 for canvas, _ in batches) == 20
