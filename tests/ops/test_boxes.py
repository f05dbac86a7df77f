"""Overlaps and the coding of boxes equal mmdetection's, with finite gradients for any box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.ops import boxes as ops
from tests.ops.derivatives import assert_gradient
from tests.ops.stored import settings, stored

STDS = (1.0, 1.0, 1.0, 1.0)
CODERS = ["unit", "stage1", "stage3"]
encode, decode = (jax.jit(f, static_argnums=2) for f in (ops.encode, ops.decode))
clip, flip = jax.jit(ops.clip), jax.jit(ops.flip)
OVERLAPS = {"iou": ops.iou, "iof": ops.iof, "giou": ops.giou}
DEGENERATE = np.array(
    [[0, 0, 0, 0], [5, 5, 5, 9], [3, 3, 1, 1], [2, 4, 6, 4], [0, 0, 1e-20, 1e-20], [1, 1, 4, 5]]
)


def random_boxes(count, seed=0, size=60.0):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, size, (count, 2))
    return np.concatenate([corner, corner + random.uniform(2, size, (count, 2))], axis=1)


@pytest.mark.parametrize("kind", sorted(OVERLAPS))
def test_overlaps_equal_mmdetection(kind):
    data = stored("boxes")
    a, b = data["inputs/boxes_a"], data["inputs/boxes_b"]
    overlap = jax.jit(OVERLAPS[kind])
    np.testing.assert_allclose(overlap(a[:, None], b), data[f"outputs/overlaps/{kind}"], atol=1e-6)
    aligned = data[f"outputs/overlaps/{kind}_aligned"]
    np.testing.assert_allclose(overlap(a, b), aligned, atol=1e-6)


def test_compiled_iou_has_the_bits_of_plain_float32_arithmetic():
    """Ties between anchors are decided by equality, so no rounding may be skipped."""
    a, b = (random_boxes(n, n, 700.0).astype(np.float32) for n in (40, 1003))
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=-1) for x in (a, b))
    expected = common / (area_a[:, None] + area_b - common)
    np.testing.assert_array_equal(jax.jit(ops.iou)(a[:, None], b), expected)


@pytest.mark.parametrize("coder", CODERS)
def test_coding_equals_mmdetection(coder):
    data = stored("boxes")
    stds = tuple(settings("boxes")[f"coder/{coder}"])
    size = np.array(settings("boxes")["image"])
    rois, gts = data["inputs/rois"], data["inputs/gts"]
    deltas = data[f"inputs/coder/{coder}/deltas"]
    encoded = encode(rois, gts, stds)
    np.testing.assert_allclose(
        encoded, data[f"outputs/coder/{coder}/encoded"], rtol=1e-5, atol=1e-5
    )
    decoded = decode(rois, deltas, stds)
    expected = data[f"outputs/coder/{coder}/decoded"]
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-3)
    expected = data[f"outputs/coder/{coder}/decoded_clipped"]
    np.testing.assert_allclose(clip(decoded, size), expected, rtol=1e-5, atol=1e-3)
    per_class = data["inputs/deltas_per_class"].reshape(len(rois), -1, 4)
    decoded = clip(decode(rois[:, None], per_class, stds), size)
    expected = data[f"outputs/coder/{coder}/decoded_per_class"].reshape(decoded.shape)
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-3)


def test_decoding_gives_the_answers_of_mmdetections_documentation():
    rois = np.array([[0, 0, 1, 1]] * 3 + [[5, 5, 5, 5]], np.float32)
    deltas = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 2, -1], [0.7, -1.9, -0.5, 0.3]])
    expected = [
        [0, 0, 1, 1],
        [0.1409, 0.1409, 2.8591, 2.8591],
        [0, 0.3161, 4.1945, 0.6839],
        [5, 5, 5, 5],
    ]
    decoded = clip(decode(rois, deltas, STDS), np.array([32, 32]))
    np.testing.assert_allclose(decoded, expected, atol=1e-4)


def test_decoding_limits_the_ratio_of_sides_both_ways():
    deltas = np.array([[0, 0, 50, -50]], np.float32)
    x1, y1, x2, y2 = decode(np.array([[0, 0, 16, 1000]]), deltas, STDS)[0]
    assert x2 - x1 == pytest.approx(1000, rel=1e-5)
    assert y2 - y1 == pytest.approx(16, rel=1e-5)


def test_decoding_inverts_encoding():
    a, b = random_boxes(50, 1), random_boxes(50, 2)
    stds = (0.1, 0.1, 0.2, 0.2)
    np.testing.assert_allclose(decode(a, encode(a, b, stds), stds), b, atol=1e-4)


def test_clip_and_flip_take_the_size_of_each_image():
    boxes = np.array([[[-5, -5, 60, 60], [1, 2, 3, 4]], [[-5, -5, 60, 60], [1, 2, 3, 4]]])
    sizes = np.array([[40, 50], [20, 10]])
    clipped = [[[0, 0, 50, 40], [1, 2, 3, 4]], [[0, 0, 10, 20], [1, 2, 3, 4]]]
    np.testing.assert_array_equal(clip(boxes, sizes), clipped)
    flipped = [[[-10, -5, 55, 60], [47, 2, 49, 4]], [[-50, -5, 15, 60], [7, 2, 9, 4]]]
    np.testing.assert_array_equal(flip(boxes, sizes), flipped)
    np.testing.assert_array_equal(flip(flip(boxes, sizes), sizes), boxes)


@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_gradients_of_overlaps_equal_finite_differences(kind):
    a, b = random_boxes(5, 3), random_boxes(5, 4)
    weights = np.random.default_rng(0).normal(size=5)
    with jax.enable_x64(True):
        assert_gradient(lambda x: (weights * OVERLAPS[kind](x, b)).sum(), a)


def test_gradients_of_coding_equal_finite_differences():
    a, b = random_boxes(4, 3), random_boxes(4, 4)
    weights = np.random.default_rng(0).normal(size=(4, 4))
    stds = (0.1, 0.1, 0.2, 0.2)
    with jax.enable_x64(True):
        assert_gradient(lambda x: (weights * encode(a, x, stds)).sum(), b)
        deltas = np.random.default_rng(1).normal(size=(4, 4))
        assert_gradient(lambda x: (weights * decode(a, x, stds)).sum(), deltas)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_and_gradients_are_finite_for_any_box(dtype):
    pairs = [(a, b) for a in DEGENERATE for b in DEGENERATE]
    a, b = (jnp.asarray(np.array(side), dtype) for side in zip(*pairs, strict=True))

    def total(a, b):
        overlaps = [overlap(a, b).sum() for overlap in OVERLAPS.values()]
        return sum(overlaps) + encode(a, b, STDS).sum() + decode(a, b, STDS).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(a, b)
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in gradients)


def test_boxes_without_area_are_encoded_as_zeros():
    encoded = np.asarray(encode(DEGENERATE, DEGENERATE[-1], STDS))
    np.testing.assert_array_equal(encoded[:4], 0)
    np.testing.assert_array_equal(encoded[-1], 0)


def test_coordinates_keep_float32_under_bfloat16_and_float64_under_x64():
    def results(box):
        return (
            ops.giou(box, box),
            encode(box, box, STDS),
            decode(box, box, STDS),
            clip(box, box[0, :2]),
        )

    with jax.enable_x64(True):
        for given, expected in {"bfloat16": "float32", "float64": "float64"}.items():
            found = jax.eval_shape(results, jax.ShapeDtypeStruct((4, 4), given))
            assert {x.dtype.name for x in found} == {expected}
