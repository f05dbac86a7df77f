"""Augmentation of images with boxes and masks: mirror, resize, crop, as the detectors' recipes do.

A plan is drawn first, from random numbers and the image's size; image, boxes and masks then follow
it on their own. The rules are mmdetection's (RandomFlip, RandomChoiceResize, RandomCrop).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from inceptionnext_jax.data.instance_masks import bitmap, box_crop
from inceptionnext_jax.data.instances import Instances, clipped_boxes
from inceptionnext_jax.data.resize import Size, resize_image, size_within

NUM_UNIFORMS = 8  # mirror, branch, side, side before the crop, height, width, top, left
Box = tuple[int, int, int, int]  # top, left, height, width in pixels


@dataclass(frozen=True)
class Recipe:
    """Sizes of training images.

    With probability `crop_prob` an image is resized to one of `crop_shorts`, cropped at random and
    only then resized as all others are (the recipe of DETR, Sparse R-CNN, Swin and ConvNeXt).

    Attributes:
      shorts: Short sides, of which one is drawn, in pixels.
      long: Longest long side.
      hflip: Probability of mirroring.
      crop_prob: Probability of the second branch.
      crop_shorts: Short sides before the crop, of which one is drawn.
      crop: Least and greatest side of a crop, each side drawn by itself.
    """

    shorts: tuple[int, ...]
    long: int = 1333
    hflip: float = 0.5
    crop_prob: float = 0.0
    crop_shorts: tuple[int, ...] = (400, 500, 600)
    crop: tuple[int, int] = (384, 600)


class Plan(NamedTuple):
    """The changes of an image, in their order.

    Attributes:
      size: Its height and width before.
      mirrored: Whether left and right change places.
      sides: Its height and width resized before the crop; None: neither happens.
      crop: The window that stays.
      final: Its height and width in the end.
    """

    size: Size
    mirrored: bool
    sides: Size | None
    crop: Box | None
    final: Size


def draw_plan(recipe: Recipe, size: Size, canvas: Size, uniforms: np.ndarray) -> Plan:
    """Draws what happens to a training image.

    On a canvas that is smaller than a drawn size, as the crop of a wide image that is higher than
    wide may be, the image is resized to fit. A square canvas of the longest side changes nothing.

    Args:
      recipe: The recipe.
      size: The image's height and width.
      canvas: Height and width that the image must fit in the end.
      uniforms: [NUM_UNIFORMS] float64 in [0, 1).
    """
    u = uniforms.tolist()
    mirrored, box = u[0] < recipe.hflip, (_choice(recipe.shorts, u[2]), recipe.long)
    if u[1] >= recipe.crop_prob:
        return Plan(size, mirrored, None, None, size_on_canvas(size, box, canvas))
    sides = _at_least_one(size_within(size, (_choice(recipe.crop_shorts, u[3]), recipe.long)))
    height, width = (
        _between(min(side, recipe.crop[0]), min(side, recipe.crop[1]), draw)
        for side, draw in zip(sides, u[4:6], strict=True)
    )
    top, left = _between(0, sides[0] - height, u[6]), _between(0, sides[1] - width, u[7])
    final = size_on_canvas((height, width), box, canvas)
    return Plan(size, mirrored, sides, (top, left, height, width), final)


def plain_plan(size: Size, box: Size, canvas: Size) -> Plan:
    """Returns the plan of an image that is only resized, within a box and a canvas."""
    return Plan(size, False, None, None, size_on_canvas(size, box, canvas))


def size_on_canvas(size: Size, box: Size, canvas: Size) -> Size:
    """Returns `size_within` the box, or the largest size that fits the canvas if that is smaller.

    A side has at least one pixel.
    """
    wanted = size_within(size, box)
    factor = min(canvas[0] / size[0], canvas[1] / size[1])
    if wanted[0] > canvas[0] or wanted[1] > canvas[1]:
        wanted = int(size[0] * factor + 0.5), int(size[1] * factor + 0.5)
    return _at_least_one(wanted)


def _at_least_one(size: Size) -> Size:
    return max(1, size[0]), max(1, size[1])


def _choice(values: tuple[int, ...], u: float) -> int:
    return values[int(u * len(values))]


def _between(low: int, high: int, u: float) -> int:
    """One of the whole numbers low .. high."""
    return low + int(u * (high - low + 1))


def augment_image(plan: Plan, image: np.ndarray) -> np.ndarray:
    """Returns the image, [*plan.final, 3] uint8.

    image: [H, W, 3] uint8.
    """
    if plan.mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    if plan.sides is not None:
        image = _cut(plan, resize_image(image, plan.sides))
    return resize_image(image, plan.final)


def augment_bitmaps(plan: Plan, masks: np.ndarray) -> np.ndarray:
    """Returns the masks by nearest neighbours, [N, *plan.final] uint8.

    masks: [N, H, W] uint8.
    """
    out = np.zeros((len(masks), *plan.final), np.uint8)
    for number, mask in enumerate(masks):
        if plan.mirrored:
            mask = np.ascontiguousarray(mask[:, ::-1])
        if plan.sides is not None:
            mask = _cut(plan, _nearest(mask, plan.sides))
        out[number] = _nearest(mask, plan.final)
    return out


def _nearest(mask: np.ndarray, size: Size) -> np.ndarray:
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def _cut(plan: Plan, pixels: np.ndarray) -> np.ndarray:
    assert plan.crop is not None
    top, left, height, width = plan.crop
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def augment_boxes(plan: Plan, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the boxes, cut at the image's border, and which of them stay.

    Boxes that the crop leaves no area do not stay; without a crop all do.

    boxes: [N, 4] float32, x1, y1, x2, y2.
    Returns: ([M, 4] float32, [N] bool).
    """
    boxes = boxes.astype(np.float32)
    if plan.mirrored:
        boxes[:, [0, 2]] = np.float32(plan.size[1]) - boxes[:, [2, 0]]
    if plan.sides is None or plan.crop is None:
        return _scaled(boxes, plan.size, plan.final), np.ones(len(boxes), bool)
    top, left, height, width = plan.crop
    boxes = _scaled(boxes, plan.size, plan.sides)
    boxes -= np.array([left, top, left, top], np.float32)
    boxes = clipped_boxes(boxes, (height, width))
    stay = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return _scaled(boxes[stay], (height, width), plan.final), stay


def _scaled(boxes: np.ndarray, before: Size, after: Size) -> np.ndarray:
    scale = np.array([after[1] / before[1], after[0] / before[0]] * 2, np.float32)
    return clipped_boxes(boxes * scale, after)


def original_boxes(plan: Plan, boxes: np.ndarray) -> np.ndarray:
    """Returns where boxes of the augmented image are in the image as it was stored.

    A mirrored box has x1 > x2, as `instance_masks.box_crop` takes it.

    boxes: [N, 4], x1, y1, x2, y2.
    Returns: [N, 4] float64.
    """
    corners = boxes.astype(np.float64).reshape(-1, 2, 2)
    sides = plan.sides or plan.size
    top, left, height, width = plan.crop or (0, 0, *sides)
    corners *= np.array([width / plan.final[1], height / plan.final[0]])
    corners += np.array([left, top])
    corners *= np.array([plan.size[1] / sides[1], plan.size[0] / sides[0]])
    if plan.mirrored:
        corners[..., 0] = plan.size[1] - corners[..., 0]
    return corners.reshape(-1, 4)


def object_arrays(
    plan: Plan, instances: Instances, count: int, mask_side: int | None
) -> dict[str, np.ndarray]:
    """Returns the objects to learn from, which are those without crowds and cut away ones.

    Args:
      plan: The plan of their image.
      instances: Its objects.
      count: Rows of the arrays; further objects are left out, missing ones are zeros.
      mask_side: Pixels on a side of "masks"; None: no masks.

    Returns:
      "boxes": [count, 4] float32, x1, y1, x2, y2.
      "classes": [count] int32.
      "valid": [count] bool, which rows are objects.
      "masks": [count, mask_side, mask_side] uint8, each mask in its own box, as `box_crop` gives
        it from the stored one.
    """
    objects = instances.select(~instances.crowd)
    boxes, stay = augment_boxes(plan, objects.boxes)
    objects = objects.select(stay)
    arrays = {
        "boxes": _rows(boxes, count),
        "classes": _rows(objects.classes, count),
        "valid": _rows(np.ones(len(boxes), bool), count),
    }
    if mask_side is not None:
        crops = np.zeros((count, mask_side, mask_side), np.uint8)
        stored = zip(objects.masks[:count], original_boxes(plan, boxes), strict=False)
        for number, (mask, box) in enumerate(stored):
            crops[number] = box_crop(bitmap(mask, objects.size), box, mask_side)
        arrays["masks"] = crops
    return arrays


def _rows(values: np.ndarray, count: int) -> np.ndarray:
    """The first `count` rows, and zeros where there are fewer."""
    out = np.zeros((count, *values.shape[1:]), values.dtype)
    out[: len(values)] = values[:count]
    return out


def on_canvas(image: np.ndarray, canvas: Size) -> np.ndarray:
    """Returns an image [h, w, ...] at the top left of zeros, [*canvas, ...]."""
    out = np.zeros((*canvas, *image.shape[2:]), image.dtype)
    out[: image.shape[0], : image.shape[1]] = image
    return out
