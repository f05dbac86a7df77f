import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from inceptionnext_jax.data.instance_masks import (
    MaskError,
    MaskPacker,
    bitmap,
    bitmaps,
    box_crop,
    encode,
    mask_area,
    parse_segmentation,
    run_lengths,
)
from tests.coco import plain_runs

SIZE = (37, 53)


def blob(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    cy, cx = rng.uniform(0.3, 0.7, 2) * size
    wave = 1 + 0.4 * np.sin(3 * np.arctan2(y - cy, x - cx) + rng.uniform(0, 6))
    return (np.hypot(y - cy, x - cx) < rng.uniform(0.2, 0.45) * min(size) * wave).astype(np.uint8)


def pycocotools_mask(stored, size):
    """The mask that pycocotools makes of a file's annotation."""
    api = COCO()
    api.imgs = {1: {"height": size[0], "width": size[1]}}
    return api.annToMask({"image_id": 1, "segmentation": stored})


STORED = {
    "polygon": [[3.25, 2.5, 40.13, 5.7, 33.0, 30.99]],
    "polygons": [[3.3, 2.1, 20.7, 2.3, 20.5, 18.9], [30.1, 20, 52.6, 20.7, 52.9, 36.9, 30, 36]],
    "outside": [[-5.5, -3, 60.2, -3, 60.2, 50, -5, 50.5]],
    "plain runs": {"size": [*SIZE], "counts": plain_runs(blob(1))},
    "plain runs that begin with ones": {"size": [*SIZE], "counts": plain_runs(1 - blob(2))},
    "coded runs": {"size": [*SIZE], "counts": encode(blob(3)).decode()},
    "coded runs as bytes": {"size": [*SIZE], "counts": encode(1 - blob(4))},
}


@pytest.mark.parametrize("kind", STORED)
def test_every_kind_of_mask_is_drawn_as_by_pycocotools(kind):
    expected = pycocotools_mask(STORED[kind], SIZE)
    parsed = parse_segmentation(STORED[kind], SIZE)
    np.testing.assert_array_equal(bitmap(parsed, SIZE), expected)
    assert mask_area(parsed, SIZE) == expected.sum() > 0
    assert run_lengths(parsed, SIZE) == encode(expected) == encode(expected.astype(bool))


def test_packed_masks_are_the_same_masks():
    parsed = [parse_segmentation(stored, SIZE) for stored in STORED.values()]
    for given in (parsed, [*parsed, None]):
        packer = MaskPacker()
        for mask in given:
            packer.add(mask)
        packed = packer.packed()
        assert len(packed) == len(given)
        assert packed.present.tolist() == [mask is not None for mask in given]
        for index, mask in enumerate(given):
            assert run_lengths(packed[index], SIZE) == run_lengths(mask, SIZE)


def test_polygons_lose_no_digit_in_hundredths_and_keep_more_digits():
    """0.7 · 5 rounds up in pycocotools, and 0.7 as float32 would round down."""
    for value, dtype in ((0.7, np.int32), (0.123456789, np.float64)):
        packer = MaskPacker()
        packer.add((np.array([value, 1.1, 9.3, 0.3, 5.01, 20.7]),))
        packed = packer.packed()
        assert packed.coordinates.dtype == dtype
        np.testing.assert_array_equal(packed[0][0], [value, 1.1, 9.3, 0.3, 5.01, 20.7])


def test_a_mask_without_pixels_is_an_empty_bitmap():
    assert parse_segmentation(None, SIZE) is None
    assert parse_segmentation([], SIZE) is None
    assert parse_segmentation([[1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4, 5, 6, 7]], SIZE) is None
    assert bitmap(None, SIZE).shape == SIZE
    assert not bitmap(None, SIZE).any()
    assert bitmaps((), SIZE).shape == (0, *SIZE)
    assert bitmaps((None, encode(blob(1))), SIZE).sum((1, 2)).tolist() == [0, blob(1).sum()]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (7, "neither a list of polygons nor"),
        ([["a", 1, 2, 3, 4, 5]], "something else than numbers"),
        ([1.0, 2.0, 3.0], "not a list of numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no image has"),
        ([[1, 2, 3, 4, 5, 1e9]], "no image has"),
        ({"size": [37, 54], "counts": [37 * 54]}, r"of size \[37, 54\], the image's is \[37, 53\]"),
        ({"size": [37, 53]}, "neither a string nor a list"),
        ({"size": [37, 53], "counts": [10, -10, 37 * 53]}, "do not add up"),
        ({"size": [37, 53], "counts": [1, 2]}, "do not add up"),
        ({"size": [37, 53], "counts": "PP"}, "damaged"),
        ({"size": [37, 53], "counts": "\x7fé"}, "damaged"),
        ({"size": [37, 53], "counts": ""}, "damaged"),
        ({"size": [37, 53], "counts": "P" * 30 + "0"}, "damaged"),
        ({"size": [37, 53], "counts": encode(blob(3)).decode()[:-1]}, "damaged|do not add up"),
    ],
)
def test_wrong_masks_are_refused(stored, message):
    with pytest.raises(MaskError, match=message):
        parse_segmentation(stored, SIZE)


def test_coded_run_lengths_of_random_masks_are_understood():
    rng = np.random.default_rng(0)
    for _ in range(50):
        size = tuple(rng.integers(1, 300, 2).tolist())
        mask = (rng.random(size) < rng.choice([0.01, 0.5, 0.99])).astype(np.uint8)
        stored = {"size": [*size], "counts": encode(mask).decode()}
        np.testing.assert_array_equal(bitmap(parse_segmentation(stored, size), size), mask)


def roi_align(image, box, cells):
    """RoIAlign of [H, W] (aligned, adaptive sampling), value by value."""
    x1, y1, x2, y2 = box
    n_y, n_x = (max(1, int(np.ceil(extent / cells))) for extent in (y2 - y1, x2 - x1))
    out = np.zeros((cells, cells))
    for i in range(cells * n_y):
        for j in range(cells * n_x):
            y = y1 - 0.5 + (i + 0.5) * (y2 - y1) / (cells * n_y)
            x = x1 - 0.5 + (j + 0.5) * (x2 - x1) / (cells * n_x)
            y, x = np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)
            y0, x0 = int(y), int(x)
            y_next, x_next = min(y0 + 1, image.shape[0] - 1), min(x0 + 1, image.shape[1] - 1)
            fy, fx = y - y0, x - x0
            top = image[y0, x0] * (1 - fx) + image[y0, x_next] * fx
            low = image[y_next, x0] * (1 - fx) + image[y_next, x_next] * fx
            out[i // n_y, j // n_x] += (top * (1 - fy) + low * fy) / (n_y * n_x)
    return out


@pytest.mark.parametrize(
    "box", [(3.3, 2.8, 40.2, 30.1), (0, 0, 53, 37), (20, 10, 21.5, 12), (7, 7, 7, 9), (0, 0, 3, 37)]
)
@pytest.mark.parametrize("side", [7, 28])
def test_crops_are_roi_align_of_the_bitmap(box, side):
    mask = blob(5)
    crop = box_crop(mask, np.array(box, np.float32), side)
    assert crop.dtype == np.uint8
    np.testing.assert_allclose(crop / 255, roi_align(mask, box, side), atol=0.6 / 255)
    x1, y1, x2, y2 = box
    mirrored = box_crop(mask[:, ::-1], np.array([53 - x2, y1, 53 - x1, y2], np.float32), side)
    flipped = box_crop(mask, np.array([x2, y1, x1, y2], np.float32), side)
    np.testing.assert_allclose(flipped.astype(int), crop[:, ::-1], atol=0)
    np.testing.assert_allclose(mirrored.astype(int), flipped, atol=1)


def test_targets_from_crops_are_those_from_bitmaps():
    """28 × 28 targets over proposals around the object differ in few pixels at its border."""
    rng = np.random.default_rng(0)
    shares = []
    for seed in range(3):
        mask = blob(seed, (150, 200))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        sides = np.tile(box[2:] - box[:2], 2)
        x1, y1, x2, y2 = np.clip(box + rng.uniform(-0.15, 0.15, 4) * sides, 0, [200, 150] * 2)
        whole = roi_align(mask, (x1, y1, x2, y2), 28) >= 0.5
        scale = 112 / sides[:2]
        inner = ((np.array([x1, y1, x2, y2]) - np.tile(box[:2], 2)) * np.tile(scale, 2)).tolist()
        padded = np.pad(box_crop(mask, box, 112) / 255, 60)  # nothing outside of the box
        crop = roi_align(padded, tuple(value + 60 for value in inner), 28) >= 0.5
        shares.append(np.mean(crop != whole))
    assert np.mean(shares) < 0.003
    assert max(shares) < 0.01


def test_encoding_takes_any_memory_layout():
    mask = blob(6)
    for same in (mask, np.asfortranarray(mask), mask.astype(bool), mask[::-1][::-1]):
        np.testing.assert_array_equal(
            coco_mask.decode({"size": [*SIZE], "counts": encode(same)}), mask
        )
