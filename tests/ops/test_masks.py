"""Targets of mask heads equal mmdetection's."""

import jax
import numpy as np
import pytest

from inceptionnext_jax.ops import masks as ops
from tests.ops.stored import stored
from tests.ops.test_roi_align import sampled

mask_targets = jax.jit(ops.mask_targets, static_argnums=3)
cropped_mask_targets = jax.jit(ops.cropped_mask_targets, static_argnums=4)


def golden_image(image):
    data = stored("masks")
    names = ("gt_masks", "pos_gt_inds", "pos_priors")
    masks, indices, boxes = (data[f"inputs/{name}/{image}"] for name in names)
    start = 0 if image == 0 else len(data["inputs/pos_priors/0"])
    return masks, indices, boxes, data["outputs/mask_targets"][start : start + len(boxes)]


@pytest.mark.parametrize("image", [0, 1])
def test_targets_equal_mmdetection(image):
    masks, indices, boxes, expected = golden_image(image)
    np.testing.assert_array_equal(mask_targets(masks, indices, boxes, 28), expected)


def test_regions_are_limited_to_the_padded_image():
    masks = np.ones((1, 20, 30), bool)
    boxes = np.array([[-40, -40, 60, 60], [25, 15, 200, 200], [40, 5, 50, 9]], np.float32)
    targets = mask_targets(masks, np.zeros(3, int), boxes, 8)
    assert targets[:2].all()
    assert not targets[2].any()  # nothing of it is left


def test_crops_pixel_by_pixel_give_the_targets_of_whole_masks():
    random = np.random.default_rng(0)
    masks = np.zeros((3, 64, 80), bool)
    places = np.array([[8, 16, 40, 48], [20, 4, 52, 36], [40, 30, 72, 62]])
    crops = random.random((3, 32, 32)) < 0.6
    crops[:, [0, -1]] = crops[:, :, [0, -1]] = False  # so that borders do not matter
    for mask, (x1, y1, x2, y2), crop in zip(masks, places, crops, strict=True):
        mask[y1:y2, x1:x2] = crop
    boxes = np.concatenate([places, places - 9, places + 5, [[0, 0, 80, 64]] * 3])
    boxes = boxes + np.random.default_rng(1).uniform(0, 1, boxes.shape)  # no cell is half covered
    boxes = boxes.clip(0, [80, 64, 80, 64]).astype(np.float32)
    indices = np.arange(12) % 3
    expected = mask_targets(masks, indices, boxes, 14)
    found = cropped_mask_targets(crops, places, indices, boxes, 14)
    assert 0.2 < np.mean(expected) < 0.7
    np.testing.assert_array_equal(found, expected)


def test_resized_crops_give_nearly_the_targets_of_whole_masks():
    masks, indices, boxes, expected = golden_image(0)
    places, crops = [], []
    for mask in masks:
        y, x = np.nonzero(mask)
        place = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        centres = (np.arange(112) + 0.5) / 112
        rows = place[1] + centres * (place[3] - place[1]) - 0.5
        columns = place[0] + centres * (place[2] - place[0]) - 0.5
        soft = [[sampled(mask[:, :, None].astype(float), v, u)[0] for u in columns] for v in rows]
        places.append(place)
        crops.append(np.array(soft) >= 0.5)
    found = np.asarray(cropped_mask_targets(np.array(crops), np.array(places), indices, boxes, 28))
    agree = (found & expected).sum((1, 2)) / (found | expected).sum((1, 2))
    assert agree.min() > 0.9


def test_place_without_area_has_no_mask():
    crops = np.ones((1, 8, 8), bool)
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    assert not cropped_mask_targets(crops, np.zeros((1, 4)), np.zeros(1, int), boxes, 4).any()


def test_half_covered_cell_belongs_to_the_object():
    boxes = np.array([[0, 0, 2, 1]], np.float32)
    assert mask_targets(np.array([[[True, False]]]), np.zeros(1, int), boxes, 1).all()
