"""Masks in an image equal mmdetection's."""

import numpy as np
import pytest

from inceptionnext_jax.data import paste
from inceptionnext_jax.data.instance_masks import bitmap
from tests.ops.stored import stored


@pytest.mark.parametrize("kind", ["paste", "paste_rescaled"])
@pytest.mark.parametrize("image", [0, 1])
def test_pasted_masks_equal_mmdetections(kind, image):
    data = stored("masks")
    boxes, expected = (data[f"outputs/{kind}/{image}/{name}"] for name in ("bboxes", "masks"))
    probabilities = data[f"inputs/probabilities/{image}"]
    assert len(boxes) > 5
    for chances, box, mask in zip(probabilities, boxes, expected, strict=True):
        found = paste.paste(chances, box, mask.shape)
        assert (found != mask).sum() <= 2
        code = paste.paste_encoded(chances, box, mask.shape)
        np.testing.assert_array_equal(bitmap(code, found.shape), found)


def test_values_before_the_threshold_equal_mmdetections():
    data = stored("masks")
    box = data["outputs/paste_rescaled/0/bboxes"][0]
    expected = data["outputs/paste_probabilities_first"]
    part, (top, left) = paste._paste_part(data["inputs/probabilities/0"][0], box, expected.shape)
    found = np.zeros_like(expected)
    found[top : top + part.shape[0], left : left + part.shape[1]] = part
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([3, 5, 9, 12], (slice(5, 12), slice(3, 9))),
        ([-4, -2, 6, 4], (slice(0, 4), slice(0, 6))),
        ([10, 10, 60, 50], (slice(10, 30), slice(10, 40))),
        ([50, 50, 60, 60], None),
        ([-20, -20, -5, -5], None),
        ([7, 7, 7, 20], None),
    ],
)
def test_sure_mask_fills_its_box_within_the_image(box, inside):
    found = paste.paste(np.ones((28, 28), np.float32), np.array(box), (30, 40))
    expected = np.zeros((30, 40), bool)
    if inside:
        expected[inside] = True
    np.testing.assert_array_equal(found, expected)
    code = paste.paste_encoded(np.ones((28, 28), np.float32), np.array(box), (30, 40))
    np.testing.assert_array_equal(bitmap(code, found.shape), expected)
