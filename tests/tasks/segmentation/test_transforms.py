"""Augmentation equals mmsegmentation's on stored data, given the same draws."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from inceptionnext_jax.data.label_crop import choose_crop
from inceptionnext_jax.data.label_maps import IGNORED
from inceptionnext_jax.data.photometric import Photometric, change_colors, draw_photometric
from inceptionnext_jax.data.resize import (
    resize_image,
    resize_labels,
    scaled_box,
    size_within,
    up_to_multiple,
)


@functools.cache
def golden():
    with np.load(Path(__file__).parent / "golden/transforms.npz") as stored:
        return dict(stored)


def picture(key):
    return np.ascontiguousarray(golden()[key][..., ::-1])


def label_map(key):
    labels = golden()[key].astype(np.int16)
    return np.where(labels == 255, np.int16(IGNORED), labels)


def test_photometric_changes_are_equal_in_every_pixel():
    image, draws = picture("inputs/image_bgr"), golden()["inputs/photometric/draws"]
    wanted = golden()["outputs/photometric/image_bgr"]
    for row, expected in zip(draws, wanted, strict=True):
        mode, *rest = (None if np.isnan(value) else value for value in row)
        brightness, contrast, saturation, hue = rest
        draw = Photometric(
            mode == 1, brightness, contrast, saturation, None if hue is None else int(hue)
        )
        np.testing.assert_array_equal(change_colors(image, draw)[..., ::-1], expected)


def test_sizes_of_training_and_of_evaluation_are_equal():
    stored = golden()
    draws = stored["inputs/resize/h_w_u"]
    for (h, w, u), (long, short, *size) in zip(
        draws, stored["outputs/resize/scale_long_scale_short_h_w"].tolist(), strict=True
    ):
        box = scaled_box((2048, 512), 0.5 + 1.5 * u)
        assert box == (long, short)
        assert size_within((int(h), int(w)), box) == tuple(size)
    sizes = stored["inputs/test_resize/h_w"].tolist()
    for box, name in (((2048, 512), "seg_2048_512"), ((1333, 800), "det_1333_800")):
        wanted = stored[f"outputs/test_resize/{name}"].tolist()
        assert [list(size_within(tuple(size), box)) for size in sizes] == wanted


@pytest.mark.parametrize("case", range(4))
def test_resized_pixels_are_within_a_level_and_labels_equal(case):
    u = float(golden()[f"inputs/random_resize/{case}/u"])
    wanted = golden()[f"outputs/random_resize/{case}/image_bgr"]
    image, labels = picture("inputs/image_bgr"), label_map("inputs/label")
    size = size_within(image.shape[:2], scaled_box((128, 48), 0.5 + 1.5 * u))
    assert size == wanted.shape[:2]
    found = resize_image(image, size)[..., ::-1].astype(int)
    assert np.abs(found - wanted).max() <= 1
    expected = label_map(f"outputs/random_resize/{case}/label")
    np.testing.assert_array_equal(resize_labels(labels, size), expected)


@pytest.mark.parametrize("case", ["plain", "redraw", "hopeless", "larger_than_image"])
def test_the_same_draws_give_the_same_crop(case):
    stored = golden()
    settings = json.loads(str(stored["settings"]))[f"crop/{case}"]
    labels = label_map(f"inputs/crop/{case}/label")
    height, width = settings["crop_size"]
    offsets = stored[f"inputs/crop/{case}/offsets_y_x"]
    spare = np.maximum(np.array(labels.shape) - (height, width), 0)
    uniforms = np.zeros(22)
    drawn = ((offsets + 0.5) / (spare + 1)).ravel()[:22]
    uniforms[: len(drawn)] = drawn
    top, left, h, w = choose_crop(labels, uniforms, (height, width), settings["cat_max_ratio"])
    window = slice(top, top + h), slice(left, left + w)
    image = picture("inputs/image_bgr")[window]
    np.testing.assert_array_equal(image[..., ::-1], stored[f"outputs/crop/{case}/image_bgr"])
    np.testing.assert_array_equal(labels[window], label_map(f"outputs/crop/{case}/label"))
    used = int(stored[f"outputs/crop/{case}/draws_used"])
    assert [top, left] == offsets[used - 1].tolist()


def test_sides_are_resized_up_to_multiples():
    wanted = golden()["outputs/resize_to_multiple_32/image_bgr"]
    size = up_to_multiple(picture("inputs/image_bgr").shape[:2], 32)
    found = resize_image(picture("inputs/image_bgr"), size)[..., ::-1].astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1


def test_draws_have_the_distributions_of_the_reference():
    from scipy import stats

    random = np.random.default_rng(0)
    draws = [draw_photometric(random.random(9)) for _ in range(4000)]
    for name, low, high in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
    ):
        values = [v for draw in draws if (v := getattr(draw, name)) is not None]
        assert abs(len(values) - 2000) < 120, name
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3, name
    hues = [draw.hue for draw in draws if draw.hue is not None]
    assert abs(len(hues) - 2000) < 120
    assert stats.chisquare(np.bincount(np.array(hues) + 18, minlength=36)).pvalue > 1e-3
    assert abs(sum(draw.contrast_first for draw in draws) - 2000) < 120
    labels = np.zeros((40, 60), np.int16)
    tops = [choose_crop(labels, random.random(22), (30, 41), 1.0)[:2] for _ in range(4000)]
    for axis, count in ((0, 11), (1, 20)):
        found = np.bincount([top[axis] for top in tops], minlength=count)
        assert stats.chisquare(found).pvalue > 1e-3
