"""Random erasing against timm's, on the same box and noise and in distribution."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from inceptionnext_jax.augment.erasing import Boxes, draw_boxes, erased_mask, random_erasing
from inceptionnext_jax.augment.keys import ERASING, keys_at

DRAWS = 10_000


def our_boxes(height, width, prob=1.0, count=1, draws=DRAWS):
    keys = jax.random.split(jax.random.key(0), draws)
    drawn = jax.jit(jax.vmap(lambda k: draw_boxes(k, height, width, prob, count)))(keys)
    return Boxes(*(np.asarray(field) for field in drawn))


def timm_boxes(timm, height, width, count=1, draws=DRAWS):
    """Boxes that timm's RandomErasing writes to: [draws or more, 4] top, left, height, width."""
    from timm.data import random_erasing as theirs

    seen = []

    class Canvas:
        def __setitem__(self, where, value):
            _, rows, columns = where
            size = (rows.stop - rows.start, columns.stop - columns.start)
            seen.append((rows.start, columns.start, *size))

    eraser = theirs.RandomErasing(1.0, mode="pixel", max_count=count, device="cpu")
    random.seed(0)
    for _ in range(draws):
        eraser._erase(Canvas(), 3, height, width, None)
    return np.asarray(seen)


@pytest.fixture(autouse=True)
def no_noise(monkeypatch, request):
    if "timm" in request.fixturenames:
        request.getfixturevalue("timm")
        from timm.data import random_erasing as theirs

        monkeypatch.setattr(theirs, "_get_pixels", lambda *_, **__: None)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 48)])
def test_area_aspect_and_position_are_distributed_as_in_timm(timm, height, width):
    want = timm_boxes(timm, height, width)
    ours = our_boxes(height, width)
    got = np.stack([ours.top, ours.left, ours.height, ours.width], -1)[:, 0]
    got = got[got[:, 2] > 0]
    for name, statistic in (
        ("area", lambda b: b[:, 2] * b[:, 3]),
        ("aspect", lambda b: b[:, 2] / b[:, 3]),
        ("height", lambda b: b[:, 2]),
        ("top", lambda b: b[:, 0]),
        ("left", lambda b: b[:, 1]),
        ("space below", lambda b: height - b[:, 0] - b[:, 2]),
    ):
        assert stats.ks_2samp(statistic(got), statistic(want)).pvalue > 0.01, name


def test_several_rectangles_are_distributed_as_in_timm(timm):
    want = timm_boxes(timm, 64, 64, count=3)
    ours = our_boxes(64, 64, count=3)
    drawn = ours.height > 0
    area = (ours.height * ours.width)[drawn]
    assert stats.ks_2samp(area, want[:, 2] * want[:, 3]).pvalue > 0.01
    assert stats.chisquare(np.bincount(drawn.sum(1), minlength=4)[1:]).pvalue > 0.01


def test_boxes_are_strictly_smaller_than_the_image_and_inside():
    ours = our_boxes(20, 33)
    assert ours.height.max() < 20
    assert ours.width.max() < 33
    assert (ours.top + ours.height).max() == 20
    assert (ours.left + ours.width).max() == 33
    assert ours.top.min() == ours.left.min() == 0


def test_images_are_erased_with_the_given_probability():
    assert abs((our_boxes(32, 32, prob=0.25).height > 0).mean() - 0.25) < 0.013


def test_mask_is_the_union_of_the_rectangles():
    boxes = Boxes(*(jnp.asarray([field]) for field in ([1, 4], [0, 2], [2, 3], [3, 2])))
    want = np.zeros((1, 8, 6), bool)
    want[0, 1:3, 0:3] = True
    want[0, 4:7, 2:4] = True
    np.testing.assert_array_equal(erased_mask(boxes, 8, 6), want)


def test_only_the_box_is_erased_and_by_standard_normal_noise():
    positions = jnp.arange(100, dtype=jnp.int32)
    image = jnp.full((100, 32, 32, 3), 7.0)
    key = jax.random.key(1)
    erase = jax.jit(random_erasing, static_argnames=("prob", "max_count"))
    erased = np.asarray(erase(key, image, positions, 0.5))
    box_keys = jax.vmap(lambda k: jax.random.split(k)[0])(keys_at(key, ERASING, positions))
    boxes = jax.jit(jax.vmap(lambda k: draw_boxes(k, 32, 32, 0.5)))(box_keys)
    mask = np.asarray(erased_mask(boxes, 32, 32))
    assert (erased[~mask] == 7).all()
    noise = erased[mask]
    assert len(np.unique(noise)) > 0.99 * noise.size, "every pixel and channel has its own"
    assert stats.kstest(noise[:10_000:7].ravel(), stats.norm.cdf).pvalue > 0.01
