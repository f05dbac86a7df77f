"""Every form of RoIAlign equals mmdetection's, and samples taken one by one in plain numpy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.ops import roi_align as ops
from tests.ops.stored import settings, stored

IMPLS = sorted(ops.IMPLEMENTATIONS)
STRIDES = (4, 8)
BOXES = np.array(
    [
        [3.3, 5.1, 30.2, 40.9],
        [0, 0, 64, 48],
        [-30, -20, 20, 9],  # across the border
        [10, 10, 10, 30],  # no width
        [30, 20, 10, 5],  # negative
        [70, 60, 90, 99],  # outside
        [-2, -2, 2, 2],  # samples on the limit of one pixel outside
        [5.25, 7.5, 5.5, 7.75],  # within a pixel
        [0, 20, 64, 22.5],  # a sliver of many tiles
        [-400, -300, 600, 700],
        [0, 0, 112, 112],
        [0, 0, 0, 0],
    ],
    np.float32,
)


@functools.cache
def compiled(impl, size, strides=STRIDES):
    return jax.jit(lambda maps, boxes: ops.roi_align(maps, boxes, size, strides, impl))


def pyramid(seed=0, batch=1, channels=3, dtype=np.float32):
    random = np.random.default_rng(seed)
    sizes = [(13, 17), (7, 9)]
    return [random.normal(size=(batch, *size, channels)).astype(dtype) for size in sizes]


def sampled(features, y, x):
    """The bilinear value of features [H, W, C] at a point, 0 more than a pixel outside."""
    H, W, _ = features.shape
    if not (-1 <= y <= H and -1 <= x <= W):
        return np.zeros(features.shape[2])
    y, x = np.clip(y, 0, H - 1), np.clip(x, 0, W - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, H - 1), min(left + 1, W - 1)
    v, u = y - top, x - left
    upper = (1 - u) * features[top, left] + u * features[top, right]
    return (1 - v) * upper + v * ((1 - u) * features[bottom, left] + u * features[bottom, right])


def one_by_one(maps, box, size):
    """RoIAlign of one box [4] on maps of one image, as a loop over cells and samples."""
    x1, y1, x2, y2 = (float(v) for v in box)
    area = max(x2 - x1, 0) * max(y2 - y1, 0)
    level = min(max(math.floor(math.log2(math.sqrt(area) / 56 + 1e-6)), 0), len(maps) - 1)
    scale = 1 / STRIDES[level]
    left, top = x1 * scale - 0.5, y1 * scale - 0.5
    w, h = (x2 - x1) * scale / size, (y2 - y1) * scale / size
    columns, rows = (max(math.ceil(v), 0) for v in (w, h))
    result = np.zeros((size, size, maps[0].shape[2]))
    for i, j, k, m in np.ndindex(size, size, rows, columns):
        y, x = top + (i + (k + 0.5) / rows) * h, left + (j + (m + 0.5) / columns) * w
        result[i, j] += sampled(maps[level], y, x) / (rows * columns)
    return result


@pytest.mark.parametrize("size", [7, 14])
@pytest.mark.parametrize("impl", IMPLS)
def test_roi_align_equals_mmdetection(impl, size):
    data = stored("roi_align")
    strides = tuple(settings("roi_align")["featmap_strides"])
    maps = [data[f"inputs/maps/{i}"].transpose(0, 2, 3, 1) for i in range(len(strides))]
    images, boxes = data["inputs/rois"][:, 0].astype(int), data["inputs/rois"][:, 1:]
    # Both images with all boxes: each box is looked up in its own image.
    found = compiled(impl, size, strides)(maps, np.stack([boxes, boxes]))
    found = np.asarray(found)[images, np.arange(len(boxes))].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, data[f"outputs/features_{size}"], atol=5e-5)


def test_levels_equal_mmdetections():
    data = stored("roi_align")
    levels = ops.levels_of(data["inputs/rois"][:, 1:], 4)
    np.testing.assert_array_equal(levels, data["outputs/levels"])
    sides = np.array([0, 111.9, 112, 223.9, 224, 448, 5000], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    np.testing.assert_array_equal(ops.levels_of(boxes, 4), [0, 0, 1, 1, 2, 3, 3])


@pytest.mark.parametrize("impl", IMPLS)
def test_roi_align_equals_samples_taken_one_by_one(impl):
    maps = pyramid()
    random = np.random.default_rng(1)
    corners = random.uniform(-20, 70, (12, 2))
    sides = np.exp(random.uniform(0, 5, (12, 2)))
    boxes = np.concatenate([BOXES, np.concatenate([corners, corners + sides], 1)]).astype("f4")
    found = compiled(impl, 3)(maps, boxes[None])[0]
    expected = [one_by_one([x[0] for x in maps], box, 3) for box in boxes]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_plane_gives_its_value_at_the_centres_of_cells(impl):
    y, x = np.mgrid[:13, :17].astype(np.float32)
    plane = (2 * x - 3 * y + 5)[None, :, :, None]
    boxes = np.array([[[9, 9, 37, 37], [13, 6.5, 50, 40]]], np.float32)
    found = compiled(impl, 3, (4,))([plane], boxes)[0, ..., 0]
    for box, values in zip(boxes[0] / 4, found, strict=True):
        cells = (np.arange(3) + 0.5) / 3
        column = box[0] + cells * (box[2] - box[0]) - 0.5
        row = box[1] + cells * (box[3] - box[1]) - 0.5
        np.testing.assert_allclose(values, 2 * column - 3 * row[:, None] + 5, atol=1e-4)


@pytest.mark.parametrize("impl", IMPLS)
def test_gradient_is_the_adjoint_in_float64(impl):
    """The result is linear in the maps, so <roi_align(u), g> = <u, gradient(g)> for all u."""
    with jax.enable_x64(True):
        maps, other = (pyramid(seed, 2, dtype=np.float64) for seed in (0, 1))
        boxes = np.stack([BOXES, BOXES[::-1] * 0.7]).astype(np.float64)
        align = compiled(impl, 3)
        y, pullback = jax.vjp(lambda maps: align(maps, boxes), maps)
        assert y.dtype == jnp.float64
        upstream = np.random.default_rng(2).normal(size=y.shape)
        (gradient,) = pullback(upstream)
        for u in (maps, other):
            left = (np.asarray(align(u, boxes)) * upstream).sum()
            right = sum((np.asarray(g) * x).sum() for g, x in zip(gradient, u, strict=True))
            assert left == pytest.approx(right, rel=1e-10)


@pytest.mark.parametrize("impl", IMPLS)
def test_boxes_have_no_gradient_and_no_box_makes_it_nan(impl):
    def total(maps, boxes):
        return (ops.roi_align(maps, boxes, 3, STRIDES, impl) ** 2).sum()

    maps = [jnp.asarray(x, jnp.bfloat16) for x in pyramid()]
    for_maps, for_boxes = jax.jit(jax.grad(total, argnums=(0, 1)))(maps, BOXES[None])
    assert all(x.dtype == jnp.bfloat16 and np.isfinite(np.asarray(x, "f4")).all() for x in for_maps)
    assert not np.asarray(for_boxes).any()


@pytest.mark.parametrize("impl", IMPLS)
def test_sums_are_float32_under_bfloat16(impl):
    maps = [jnp.asarray(x, jnp.bfloat16) for x in pyramid()]
    found = compiled(impl, 3)(maps, BOXES[None])
    assert found.dtype == jnp.bfloat16
    exact = compiled(impl, 3)([x.astype(jnp.float32) for x in maps], BOXES[None])
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_forms_agree_on_images_with_different_numbers_of_tiles():
    maps = pyramid(3, 3)
    boxes = np.stack([BOXES, 0 * BOXES, BOXES[::-1] / 2])
    results = [compiled(impl, 3)(maps, boxes) for impl in IMPLS]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
    assert not np.asarray(results[0])[1].any()


def test_unknown_form_is_an_error():
    with pytest.raises(UserError, match=r"roi_align_impl='tilde' is unknown.*tiled"):
        ops.roi_align(pyramid(), BOXES[None], 3, STRIDES, "tilde")
