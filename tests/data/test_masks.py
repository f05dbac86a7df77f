"""Masks in an image equal mmdetection's; their run-length code is COCO's."""

import json

import numpy as np
import pytest

from inceptionnext_jax.data import masks, rle
from inceptionnext_jax.errors import UserError
from tests.ops.stored import stored

# Written by hand from the format: (mask rows, counts, text).
KNOWN = [
    (["00", "00"], [4], "4"),
    (["11", "11"], [0, 4], "04"),
    (["010", "010"], [2, 2, 2], "222"),
    (["0110", "0100"], [2, 3, 3], "233"),
    (["10", "01"], [0, 1, 2, 1], "0120"),
    (["0" * 40], [40], "X1"),
    (["01" * 4 + "0" * 40], [1, 1, 1, 1, 1, 1, 1, 1, 40], "11100000W1"),
]


def scalar_text(counts):
    """COCO's text, digit by digit."""
    text = ""
    for i, count in enumerate(counts):
        number = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            digit = number & 31
            number >>= 5
            more = number != -1 if digit & 16 else number != 0
            text += chr(48 + digit + 32 * more)
    return text


def random_masks():
    random = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for size in ((1, 1), (1, 9), (9, 1), (13, 7), (200, 300)):
            yield random.random(size) < share
    y, x = np.mgrid[:480, :640]
    yield (y - 200) ** 2 + (x - 300) ** 2 < 180**2
    yield (y // 7 + x // 5) % 2 == 0


@pytest.mark.parametrize("kind", ["paste", "paste_rescaled"])
@pytest.mark.parametrize("image", [0, 1])
def test_pasted_masks_equal_mmdetections(kind, image):
    data = stored("masks")
    boxes, expected = (data[f"outputs/{kind}/{image}/{name}"] for name in ("bboxes", "masks"))
    probabilities = data[f"inputs/probabilities/{image}"]
    assert len(boxes) > 5
    for chances, box, mask in zip(probabilities, boxes, expected, strict=True):
        found = masks.paste(chances, box, mask.shape)
        assert (found != mask).sum() <= 2
        code = masks.paste_encoded(chances, box, mask.shape)
        np.testing.assert_array_equal(rle.decode(code), found)


def test_values_before_the_threshold_equal_mmdetections():
    data = stored("masks")
    box = data["outputs/paste_rescaled/0/bboxes"][0]
    expected = data["outputs/paste_probabilities_first"]
    part, (top, left) = masks._paste_part(data["inputs/probabilities/0"][0], box, expected.shape)
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
    found = masks.paste(np.ones((28, 28), np.float32), np.array(box), (30, 40))
    expected = np.zeros((30, 40), bool)
    if inside:
        expected[inside] = True
    np.testing.assert_array_equal(found, expected)
    code = masks.paste_encoded(np.ones((28, 28), np.float32), np.array(box), (30, 40))
    np.testing.assert_array_equal(rle.decode(code), expected)


@pytest.mark.parametrize(("rows", "counts", "text"), KNOWN)
def test_codes_of_small_masks(rows, counts, text):
    mask = np.array([[pixel == "1" for pixel in row] for row in rows])
    assert rle.encode(mask) == {"size": list(mask.shape), "counts": text}
    for given in (text, text.encode(), counts):
        np.testing.assert_array_equal(rle.decode({"size": mask.shape, "counts": given}), mask)


def test_code_is_what_a_loop_over_pixels_and_digits_writes():
    for mask in random_masks():
        flat = mask.T.ravel()
        counts = np.diff(np.r_[0, np.flatnonzero(np.diff(flat, prepend=False)), flat.size])
        code = rle.encode(mask)
        assert code["counts"] == scalar_text(counts.tolist())
        json.dumps(code)
        np.testing.assert_array_equal(rle.decode(code), mask)


def test_code_of_a_part_is_that_of_the_image():
    for mask in random_masks():
        h, w = mask.shape
        for corner, size in (((0, 0), (h, w + 2)), ((3, 0), (h + 3, w)), ((2, 5), (h + 9, w + 8))):
            image = np.zeros(size, bool)
            image[corner[0] : corner[0] + h, corner[1] : corner[1] + w] = mask
            assert rle.encode(mask, corner, size) == rle.encode(image)


def test_long_counts_and_negative_differences_survive():
    counts = np.array([0, 2**33, 5, 1, 2**33 - 7, 2**20, 0, 3])
    assert rle.to_text(counts) == scalar_text(counts.tolist())
    np.testing.assert_array_equal(rle.from_text(rle.to_text(counts)), counts)


def test_codes_equal_pycocotools():
    reference = pytest.importorskip("pycocotools.mask")
    for mask in random_masks():
        expected = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle.encode(mask)["counts"] == expected["counts"].decode()


@pytest.mark.parametrize(
    "counts",
    ["5", "2222", "", "z", "é", "P", "o" * 9 + "0", "0N4", [1, 2], [-1, 5], [[4, 1], [2]], ["x"]],
)
def test_damaged_codes_are_one_sentence(counts):
    with pytest.raises(UserError, match="RLE"):
        rle.decode({"size": [2, 2], "counts": counts})
