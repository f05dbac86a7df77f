"""Scenes for dense tasks that need no download: real digits over real photographs.

Scikit-learn's 8x8 handwritten digits, enlarged, tinted and placed at random, over crops of its two
photographs. Each class has a hue of its own, as objects of one kind often look alike, so that small
networks learn the scenes in minutes; brightness and saturation vary. Held-out scenes use held-out
digits and another region of the photographs.
"""

import colorsys
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.digits import split_digits
from inceptionnext_jax.data.label_maps import LabelMapDataset, LabelRule, voc_palette
from inceptionnext_jax.data.made_images import MadeImages
from inceptionnext_jax.data.sampler import image_uniforms

NUM_TRAIN, NUM_EVAL = 1000, 100
CLASS_NAMES = ("background", *map(str, range(10)))
RULE = LabelRule(len(CLASS_NAMES), ignore_index=None)
TRAIN, HELD_OUT = 0, 1  # splits
_SPLIT_NAMES = ("train", "held_out")

_SIDES = (96, 104, 112, 120, 128)  # pixels, of scenes
_DIGITS = 4  # at most
_HEIGHTS = (28, 52)  # pixels, of digits
_TRIES = 10  # places of a digit
_VISIBLE = 0.8  # of each digit, at least
_SPLIT_COLUMN = 192  # of 640: photographs are held out left of it
_DRAWS = 8 + _DIGITS * (8 + 2 * _TRIES)  # random numbers of a scene, at most
_EDGE, _RIM = 115, 30  # opacity, of 255, where a digit and its rim begin


class Scene(NamedTuple):
    """An image with its annotations; N digits in the order in which they were painted.

    image: [H, W, 3] uint8.
    label_map: [H, W] int16; 0 is background, k + 1 the digit k.
    boxes: [N, 4] float32, x1, y1, x2, y2 around the visible pixels, in pixels; the pixel in row y
        and column x covers x .. x + 1 and y .. y + 1.
    digits: [N] int64, 0 .. 9.
    masks: [N, H, W] bool, the visible pixels.
    """

    image: np.ndarray
    label_map: np.ndarray
    boxes: np.ndarray
    digits: np.ndarray
    masks: np.ndarray


def scene(seed: int, split: int, index: int) -> Scene:
    """Returns scene `index` of TRAIN or HELD_OUT, always the same for the same arguments.

    A scene has 1 to 4 digits; later ones hide up to 20 % of earlier ones.
    """
    draw = _drawing(seed, split, index)
    height, width = _draw_size(draw)
    image = _background(draw, split, height, width)
    owner = np.full((height, width), -1, np.int8)  # the number of the digit that shows
    digits: list[int] = []
    areas: list[int] = []
    for _ in range(1 + draw(_DIGITS)):
        digit, opacity = _glyph(draw, split)
        shape = opacity > _EDGE
        window = _free_place(draw, owner, shape, areas)
        if window is None:
            continue
        owner[window][shape] = len(digits)
        _paint(image[window], opacity, _tint(draw, digit))
        digits.append(digit)
        areas.append(int(shape.sum()))
    masks = owner == np.arange(len(digits))[:, None, None]
    label_map = np.array([*digits, -1], np.int16)[owner] + np.int16(1)
    boxes = np.array([_box(mask) for mask in masks], np.float32)
    return Scene(image, label_map, boxes, np.array(digits, np.int64), masks)


def scene_size(seed: int, split: int, index: int) -> tuple[int, int]:
    """Returns the height and width of a scene, without painting it."""
    return _draw_size(_drawing(seed, split, index))


def scene_name(split: int, index: int) -> str:
    """Returns what messages call a scene."""
    return f"digit_scenes/{_SPLIT_NAMES[split]}/{index:04d}"


def _draw_size(draw: Callable[[int], int]) -> tuple[int, int]:
    return _SIDES[draw(len(_SIDES))], _SIDES[draw(len(_SIDES))]


def _drawing(seed: int, split: int, index: int) -> Callable[[int], int]:
    """A function that draws an integer from 0 .. n - 1."""
    uniforms = iter(image_uniforms(seed, (split + 1 << 48) + index, _DRAWS).tolist())
    return lambda n: int(next(uniforms) * n)


@functools.cache
def _pixels() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Digits, [1797, 8, 8] uint8; their classes; the digits of each split; the photographs."""
    from sklearn.datasets import load_digits, load_sample_images

    data = load_digits()
    opacity = np.round(data.images * (255 / 16)).astype(np.uint8)
    classes = data.target.astype(int)
    return opacity, classes, split_digits(classes), tuple(load_sample_images().images)


def _background(draw: Callable[[int], int], split: int, height: int, width: int) -> np.ndarray:
    photographs = _pixels()[3]
    photograph = photographs[draw(len(photographs))]
    columns = slice(_SPLIT_COLUMN, None) if split == TRAIN else slice(_SPLIT_COLUMN)
    region = photograph[:, columns]
    top, left = draw(region.shape[0] - height + 1), draw(region.shape[1] - width + 1)
    crop = region[top : top + height, left : left + width]
    return crop[:, ::-1].copy() if draw(2) else crop.copy()


def _glyph(draw: Callable[[int], int], split: int) -> tuple[int, np.ndarray]:
    """A digit's class and its opacity, [h, w] uint8."""
    opacity, classes, splits, _ = _pixels()
    number = splits[split][draw(len(splits[split]))]
    low, high = _HEIGHTS
    height = low + draw(high - low + 1)
    width = height * (85 + draw(31)) // 100
    glyph = Image.fromarray(opacity[number]).resize((width, height), Image.Resampling.BICUBIC)
    return int(classes[number]), np.asarray(glyph)


def _free_place(
    draw: Callable[[int], int], owner: np.ndarray, shape: np.ndarray, areas: list[int]
) -> tuple[slice, slice] | None:
    """A window of the scene where the digit leaves enough of all others visible."""
    height, width = shape.shape
    for _ in range(_TRIES):
        top, left = draw(owner.shape[0] - height + 1), draw(owner.shape[1] - width + 1)
        window = slice(top, top + height), slice(left, left + width)
        after = owner.copy()
        after[window][shape] = -1
        counts = np.bincount(after.ravel() + 1, minlength=len(areas) + 1)[1:]
        if (counts >= _VISIBLE * np.array(areas)).all():
            return window
    return None


def _tint(draw: Callable[[int], int], digit: int) -> tuple[int, ...]:
    """A colour of the digit's hue, ten of which go around the circle."""
    hue, saturation, value = 36 * digit + draw(19) - 9, 55 + draw(46), 75 + draw(26)
    color = colorsys.hsv_to_rgb(hue % 360 / 360, saturation / 100, value / 100)
    return tuple(round(255 * share) for share in color)


def _paint(patch: np.ndarray, opacity: np.ndarray, tint: tuple[int, ...]) -> None:
    """Tints the patch in place; a soft dark rim separates the digit from the photograph."""
    wide = opacity.astype(np.int32)[:, :, None]
    for tone, alpha in (
        (0, np.clip((wide - _RIM) * 4, 0, 140)),
        (np.array(tint), np.clip((wide - _EDGE) * 4 + 128, 0, 255)),
    ):
        patch[:] = (patch * (255 - alpha) + tone * alpha + 127) // 255


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


class DigitScenes(MadeImages):
    """Scenes as images with label maps."""

    def _make(self, index: int) -> Example:
        made = scene(0, self.split, index)
        return Example(made.image, made.label_map, scene_name(self.split, index))


def open_digit_scenes() -> LabelMapDataset:
    """Returns 1,000 training and 100 held-out scenes, always the same."""
    return LabelMapDataset(
        name="digit_scenes",
        train=DigitScenes(NUM_TRAIN, TRAIN),
        eval=DigitScenes(NUM_EVAL, HELD_OUT),
        class_names=CLASS_NAMES,
        rule=RULE,
        palette=voc_palette(len(CLASS_NAMES)),
    )
