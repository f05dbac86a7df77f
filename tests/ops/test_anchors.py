"""Anchors, the flags of those in an image, and the border rule, against mmdetection."""

import jax
import numpy as np
import pytest

from inceptionnext_jax.ops import anchors as ops
from inceptionnext_jax.ops.anchors import RETINA, RPN, Anchors, base_anchors, within_border
from tests.ops.stored import settings, stored

anchor_boxes = jax.jit(ops.anchor_boxes, static_argnums=(0, 1, 2))
within_padded = jax.jit(ops.within_padded, static_argnums=(0, 1, 2))
DETECTORS = {"rpn": RPN, "retina": RETINA}


@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_anchors_equal_mmdetection(name, level):
    data, anchors = stored("boxes"), DETECTORS[name]
    size = tuple(settings("boxes")[name]["feature_sizes"][level])
    base = base_anchors(anchors, level)
    np.testing.assert_allclose(base, data[f"outputs/{name}/base_anchors/{level}"], rtol=1e-6)
    boxes = anchor_boxes(anchors, level, size)
    np.testing.assert_array_equal(boxes, data[f"outputs/{name}/anchors/{level}"])
    padded = np.array(settings("boxes")["valid_pad_shape"])
    flags = within_padded(anchors, level, size, np.stack([padded, [10**4, 10**4], [0, 0]]))
    np.testing.assert_array_equal(flags[0], data[f"outputs/{name}/valid_flags/{level}"])
    assert flags[1].all()
    assert not flags[2].any()


def test_settings_are_those_of_the_detectors():
    for name, anchors in DETECTORS.items():
        assert list(anchors.strides) == settings("boxes")[name]["strides"]
    assert (RPN.per_position, RETINA.per_position) == (3, 9)


def test_anchors_of_a_small_map_by_hand():
    anchors = Anchors((10,), (2,), (0.25, 1.0))
    expected = [
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        for y in (0, 10)
        for x in (0, 10)
        for w, h in ((40, 10), (20, 20))
    ]
    np.testing.assert_allclose(anchor_boxes(anchors, 0, (2, 2)), expected, rtol=1e-6)


def test_border_keeps_anchors_by_the_size_of_each_image():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 10, 9], [-1, 0, 5, 5], [0, 0, 9, 10], [-2, 0, 5, 5]])
    sizes = np.array([[10, 10], [20, 20]])
    kept = [[True, False, False, False, False], [True, True, False, True, False]]
    np.testing.assert_array_equal(within_border(boxes, sizes, 0), kept)
    kept = [[True, True, True, True, False], [True, True, True, True, False]]
    np.testing.assert_array_equal(within_border(boxes, sizes, 1), kept)
    assert within_border(boxes, sizes, -1).all()
