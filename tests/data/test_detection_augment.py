"""The augmentation against mmdetection's rules (mmdet/datasets/transforms), stated here again."""

import math

import cv2
import numpy as np
import pytest

from inceptionnext_jax.data.detection_augment import (
    NUM_UNIFORMS,
    Recipe,
    augment_bitmaps,
    augment_boxes,
    augment_image,
    draw_plan,
    object_arrays,
    on_canvas,
    original_boxes,
    plain_plan,
    size_on_canvas,
)
from inceptionnext_jax.data.instance_masks import bitmaps, box_crop, encode
from inceptionnext_jax.data.instances import Instances
from inceptionnext_jax.data.sampler import image_uniforms

SHORTS = tuple(range(480, 801, 32))
CONVNEXT = Recipe(SHORTS, crop_prob=0.5)
VANILLANET = Recipe(tuple(range(480, 1025, 32)))
PLAIN = Recipe((800,))
SMALL = Recipe((40, 48, 56), long=80, crop_prob=0.5, crop_shorts=(30, 40), crop=(16, 36))
HUGE = (2048, 2048)


class Scene:
    """An image with boxes and masks, changed step by step as mmdetection does."""

    def __init__(self, image, boxes, masks):
        self.image, self.boxes, self.masks = image, boxes.astype(np.float32), masks
        self.left = np.arange(len(boxes))

    def flip(self):
        width = self.image.shape[1]
        self.image = np.ascontiguousarray(self.image[:, ::-1])
        self.masks = np.ascontiguousarray(self.masks[:, :, ::-1])
        x1, x2 = self.boxes[:, 0].copy(), self.boxes[:, 2].copy()
        self.boxes[:, 0], self.boxes[:, 2] = width - x2, width - x1

    def resize(self, short, long):
        height, width = self.image.shape[:2]
        factor = min(long / max(height, width), short / min(height, width))
        new = (int(width * factor + 0.5), int(height * factor + 0.5))
        self.image = cv2.resize(self.image, new, interpolation=cv2.INTER_LINEAR)
        rows = np.minimum((np.arange(new[1]) * height / new[1]).astype(int), height - 1)
        columns = np.minimum((np.arange(new[0]) * width / new[0]).astype(int), width - 1)
        self.masks = self.masks[:, rows][:, :, columns]
        self.boxes *= np.array([new[0] / width, new[1] / height] * 2, np.float32)
        self.clip()

    def crop(self, top, left, height, width):
        self.image = self.image[top : top + height, left : left + width]
        self.boxes -= np.array([left, top, left, top], np.float32)
        self.clip()
        x1, y1, x2, y2 = self.boxes.T
        inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
        self.boxes, self.left = self.boxes[inside], self.left[inside]
        self.masks = self.masks[inside][:, top : top + height, left : left + width]

    def clip(self):
        height, width = self.image.shape[:2]
        self.boxes[:, 0::2] = np.clip(self.boxes[:, 0::2], 0, width)
        self.boxes[:, 1::2] = np.clip(self.boxes[:, 1::2], 0, height)


def scene(seed, height, width, count=6):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1)
    boxes = (corners.reshape(count, 4) * [width, height, width, height]).astype(np.float32)
    masks = np.zeros((count, height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)] = 1
    return rng.integers(0, 256, (height, width, 3), np.uint8), boxes, masks


def draws(count, seed=0):
    return [image_uniforms(seed, draw, NUM_UNIFORMS) for draw in range(count)]


@pytest.mark.parametrize("size", [(50, 70), (71, 44), (40, 40), (9, 120)])
def test_plans_do_what_mmdetection_does(size):
    branches = set()
    for seed, uniforms in enumerate(draws(24)):
        plan = draw_plan(SMALL, size, HUGE, uniforms)
        image, boxes, masks = scene(seed, *size)
        expected = Scene(image, boxes, masks)
        if uniforms[0] < 0.5:
            expected.flip()
        short = SMALL.shorts[int(uniforms[2] * 3)]
        if uniforms[1] >= 0.5:
            expected.resize(short, 80)
        else:
            expected.resize(SMALL.crop_shorts[int(uniforms[3] * 2)], 80)
            h, w = expected.image.shape[:2]
            low_h, high_h, low_w, high_w = min(h, 16), min(h, 36), min(w, 16), min(w, 36)
            height = low_h + int(uniforms[4] * (high_h - low_h + 1))
            width = low_w + int(uniforms[5] * (high_w - low_w + 1))
            top, left = int(uniforms[6] * (h - height + 1)), int(uniforms[7] * (w - width + 1))
            expected.crop(top, left, height, width)
            expected.resize(short, 80)
        branches.add((plan.mirrored, plan.crop is None))
        np.testing.assert_array_equal(augment_image(plan, image), expected.image)
        found, stay = augment_boxes(plan, boxes)
        np.testing.assert_allclose(found, expected.boxes, atol=1e-4)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(np.flatnonzero(stay), expected.left)
        np.testing.assert_array_equal(augment_bitmaps(plan, masks[stay]), expected.masks)
        assert plan.final == expected.image.shape[:2]
    assert len(branches) == 4


def test_inputs_are_left_as_they_are():
    image, boxes, masks = scene(0, 40, 60)
    copies = image.copy(), boxes.copy(), masks.copy()
    for uniforms in draws(8):
        plan = draw_plan(SMALL, (40, 60), HUGE, uniforms)
        augment_image(plan, image), augment_boxes(plan, boxes), augment_bitmaps(plan, masks)
    for one, other in zip((image, boxes, masks), copies, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((480, 640), 800, (800, 1067)),
        ((427, 640), 800, (800, 1199)),
        ((375, 640), 800, (781, 1333)),
        ((640, 427), 480, (719, 480)),
        ((333, 500), 512, (512, 769)),
        ((640, 480), 1024, (1333, 1000)),
    ],
)
def test_sizes_are_those_of_mmcv(size, short, expected):
    assert plain_plan(size, (1333, short), HUGE).final == expected
    assert plain_plan(size, (short, 1333), HUGE).final == expected


def test_draws_are_distributed_as_the_recipes_say():
    """Every side equally often, both branches and both directions half of the time."""
    count = 6000
    plans = [draw_plan(CONVNEXT, (480, 640), HUGE, uniforms) for uniforms in draws(count)]
    mirrored = np.mean([plan.mirrored for plan in plans])
    cropped = [plan for plan in plans if plan.crop is not None]
    assert mirrored == pytest.approx(0.5, abs=0.03)
    assert len(cropped) / count == pytest.approx(0.5, abs=0.03)
    for some in (cropped, [plan for plan in plans if plan.crop is None]):
        shorts = np.array([min(plan.final) for plan in some])
        sides, numbers = np.unique(shorts, return_counts=True)
        assert tuple(sides) == SHORTS
        assert np.abs(numbers / len(some) - 1 / 11).max() < 0.025
    sides, numbers = np.unique([min(plan.sides) for plan in cropped], return_counts=True)
    assert tuple(sides) == (400, 500, 600)
    assert np.abs(numbers / len(cropped) - 1 / 3).max() < 0.03
    for plan in cropped:
        top, left, height, width = plan.crop
        assert 384 <= height <= min(600, plan.sides[0])
        assert 384 <= width <= min(600, plan.sides[1])
        assert 0 <= top <= plan.sides[0] - height
        assert 0 <= left <= plan.sides[1] - width
    largest = [plan for plan in cropped if min(plan.sides) == 600]
    for side in (2, 3):  # 384 .. 600, both ends included
        drawn = np.array([plan.crop[side] for plan in largest])
        assert drawn.mean() == pytest.approx(492, abs=7)
        assert drawn.std() == pytest.approx(217 / 12**0.5, rel=0.05)
        assert drawn.min() < 388
        assert drawn.max() > 596
    shares = [plan.crop[0] / (plan.sides[0] - plan.crop[2] + 1e-9) for plan in largest[:400]]
    assert np.mean(np.clip(shares, 0, 1)) == pytest.approx(0.5, abs=0.06)


def test_recipes_without_crop_never_crop():
    for recipe, sides in ((VANILLANET, set(range(480, 1025, 32))), (PLAIN, {800})):
        plans = [draw_plan(recipe, (480, 640), HUGE, uniforms) for uniforms in draws(500)]
        assert {plan.crop for plan in plans} == {plan.sides for plan in plans} == {None}
        shorts = {min(plan.final) for plan in plans if max(plan.final) < 1333}
        assert shorts == {side for side in sides if side < 1000}


def test_images_fit_the_canvas_and_only_those_change_that_would_not():
    sizes = {(480, 640): (800, 1344), (640, 480): (1344, 800), (500, 500): (800, 1344)}
    changed = 0
    for size, canvas in sizes.items():
        for uniforms in draws(400):
            plan = draw_plan(CONVNEXT, size, canvas, uniforms)
            free = draw_plan(CONVNEXT, size, (1344, 1344), uniforms)
            assert free == draw_plan(CONVNEXT, size, HUGE, uniforms)
            assert plan[:4] == free[:4]
            assert plan.final[0] <= canvas[0]
            assert plan.final[1] <= canvas[1]
            if free.final[0] <= canvas[0] and free.final[1] <= canvas[1]:
                assert plan == free
            else:
                changed += 1
                assert plan.crop is not None  # whole images always fit their own canvas
                assert plan.final[0] == canvas[0] or plan.final[1] == canvas[1]
                before, after = free.final[0] / free.final[1], plan.final[0] / plan.final[1]
                assert after == pytest.approx(before, rel=0.01)
    assert 0 < changed < 0.2 * 1200


def test_extreme_sizes_keep_a_pixel():
    assert size_on_canvas((1, 5000), (1333, 800), (800, 1344)) == (1, 1333)
    assert size_on_canvas((1, 5000), (1333, 800), (32, 48)) == (1, 48)
    for uniforms in draws(50):
        plan = draw_plan(CONVNEXT, (1, 9000), (800, 1344), uniforms)
        assert min(plan.final) >= 1
        assert augment_image(plan, np.zeros((1, 9000, 3), np.uint8)).shape == (*plan.final, 3)


def test_original_boxes_are_where_boxes_came_from():
    for uniforms in draws(40):
        _, boxes, _ = scene(1, 90, 130)
        plan = draw_plan(SMALL, (90, 130), HUGE, uniforms)
        moved, stay = augment_boxes(plan, boxes)
        back = original_boxes(plan, moved)
        if plan.mirrored:
            assert (back[:, 0] >= back[:, 2]).all()
            back = back[:, [2, 1, 0, 3]]
        assert back.dtype == np.float64
        if plan.crop is None:
            np.testing.assert_allclose(back, boxes, atol=1e-3)
        else:  # what the crop left of them
            assert (back[:, :2] >= boxes[stay][:, :2] - 1e-3).all()
            assert (back[:, 2:] <= boxes[stay][:, 2:] + 1e-3).all()


def test_object_arrays_have_boxes_and_the_masks_in_them():
    size, side = (90, 130), 28
    _, boxes, masks = scene(2, *size)
    crowd = np.array([False, True, False, False, False, False])
    instances = Instances(
        image_id=1,
        size=size,
        boxes=boxes,
        classes=np.arange(6, dtype=np.int32) + 3,
        crowd=crowd,
        area=masks.sum((1, 2)).astype(np.float64),
        masks=tuple(map(encode, masks)),
    )
    cut, shares = 0, []
    for uniforms in draws(30):
        plan = draw_plan(SMALL, size, (80, 80), uniforms)
        arrays = object_arrays(plan, instances, 8, side)
        moved, stay = augment_boxes(plan, boxes[~crowd])
        count = int(stay.sum())
        cut += count < 5
        assert arrays["valid"].tolist() == [True] * count + [False] * (8 - count)
        np.testing.assert_array_equal(arrays["boxes"][:count], moved)
        assert not arrays["boxes"][count:].any()
        assert arrays["classes"][:count].tolist() == (instances.classes[~crowd][stay]).tolist()
        assert arrays["classes"].dtype == np.int32
        assert arrays["masks"].shape == (8, side, side)
        assert not arrays["masks"][count:].any()
        whole = augment_bitmaps(plan, bitmaps(instances.masks, size)[~crowd][stay])
        for crop, mask, box in zip(arrays["masks"], whole, moved, strict=False):
            expected = box_crop(mask, box, side)
            if (box[2:] - box[:2]).min() > 6:  # nearest neighbours move borders by a pixel
                shares.append(np.mean((crop > 127) != (expected > 127)))
    assert cut > 0
    assert len(shares) > 40
    assert np.mean(shares) < 0.04
    few = object_arrays(plain_plan(size, (80, 80), (80, 80)), instances, 2, None)
    assert set(few) == {"boxes", "classes", "valid"}
    assert few["classes"].tolist() == [3, 5]
    assert few["valid"].all()


def test_mirrored_masks_are_mirrored_in_their_boxes():
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 5:25] = 1
    mask[20:30, 5:10] = 1  # an L
    box = np.array([[5, 10, 25, 30]], np.float32)
    one = Instances(
        1, (40, 60), box, np.zeros(1, np.int32), np.zeros(1, bool), np.ones(1), (encode(mask),)
    )
    made = []
    for flip in (0.0, 1.0):
        recipe = Recipe((80,), long=200, hflip=flip)
        plan = draw_plan(recipe, (40, 60), HUGE, np.zeros(NUM_UNIFORMS))
        arrays = object_arrays(plan, one, 1, 20)
        made.append(arrays["masks"][0])
        assert arrays["boxes"][0].tolist() == ([70, 20, 110, 60] if flip else [10, 20, 50, 60])
    np.testing.assert_array_equal(made[0] > 127, mask[10:30, 5:25] > 0)
    np.testing.assert_array_equal(made[1] > 127, mask[10:30, 5:25][:, ::-1] > 0)


def test_canvas_has_zeros_below_and_on_the_right():
    image = np.full((3, 4, 3), 7, np.uint8)
    canvas = on_canvas(image, (5, 6))
    assert canvas.shape == (5, 6, 3)
    assert canvas.dtype == np.uint8
    assert canvas.sum() == image.sum()
    np.testing.assert_array_equal(canvas[:3, :4], image)
