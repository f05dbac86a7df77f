"""Host transforms of segmentation: an image and its label map become arrays of fixed shape."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from inceptionnext_jax.data import label_crop, photometric
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.decode import BadImageError, decode_pil, decode_rgb
from inceptionnext_jax.data.label_maps import IGNORED, LabelRule
from inceptionnext_jax.data.resize import (
    Size,
    require_size,
    resize_image,
    resize_labels,
    scaled_box,
    size_within,
)
from inceptionnext_jax.data.transform import ArraySpec
from inceptionnext_jax.data.views import Views, ViewShape

SIZE = ArraySpec((2,), "int32", fill=1)  # height and width of the part that is image


@dataclass(frozen=True)
class TrainTransform:
    """mmsegmentation's augmentation: resize, crop, mirror, change colours, pad.

    Makes "image" [S, S, 3] uint8, "label" [S, S] int16 and "size" [2] int32: at the bottom and on
    the right of the image there may be padding, where labels are IGNORED.

    Attributes:
      rule: From stored labels to classes.
      resize: Longest long side and longest short side at ratio 1, in pixels.
      ratio: Range of the uniform factor of the same.
      crop: S.
      cat_max_ratio: Share of a crop that one class may have; 1 takes any crop.
      hflip: Probability.
      photometric: Whether colours change.
    """

    rule: LabelRule
    resize: Size
    ratio: tuple[float, float]
    crop: int
    cat_max_ratio: float
    hflip: float
    photometric: bool

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        side = self.crop
        return {
            "image": ArraySpec((side, side, 3), "uint8"),
            "label": ArraySpec((side, side), "int16", fill=IGNORED),
            "size": SIZE,
        }

    @property
    def num_uniforms(self) -> int:
        return 2 + label_crop.NUM_UNIFORMS + photometric.NUM_UNIFORMS

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        image, labels = decoded(example, self.rule, decode_rgb(example.image, example.name))
        low, high = self.ratio
        box = scaled_box(self.resize, low + (high - low) * float(uniforms[0]))
        size = size_within(image.shape[:2], box)
        require_size(size, example.name)
        image, labels = resize_image(image, size), resize_labels(labels, size)
        draws, rest = np.split(uniforms[2:], [label_crop.NUM_UNIFORMS])
        top, left, height, width = label_crop.choose_crop(
            labels, draws, (self.crop, self.crop), self.cat_max_ratio
        )
        window = slice(top, top + height), slice(left, left + width)
        image, labels = image[window], labels[window]
        if uniforms[1] < self.hflip:
            image, labels = np.ascontiguousarray(image[:, ::-1]), labels[:, ::-1]
        if self.photometric:
            image = photometric.change_colors(image, photometric.draw_photometric(rest))
        below, right = self.crop - height, self.crop - width
        return {
            "image": np.pad(image, ((0, below), (0, right), (0, 0))),
            "label": np.pad(labels, ((0, below), (0, right)), constant_values=IGNORED),
            "size": np.array([height, width], np.int32),
        }


@dataclass(frozen=True)
class EvalTransform:
    """All views of an image, for images whose views have the same shapes.

    Makes the arrays of `Views.arrays`, "label" [*canvas] int16 and "size" [2] int32, the image's
    own height and width, which the label map has too.

    Attributes:
      rule: From stored labels to classes.
      views: The views.
      shapes: Their shapes.
      canvas: Height and width that hold the label map of every image.
    """

    rule: LabelRule
    views: Views
    shapes: tuple[ViewShape, ...]
    canvas: Size

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        return {
            **view_specs(self.views, self.shapes, self.canvas),
            "label": ArraySpec(self.canvas, "int16", fill=IGNORED),
            "size": SIZE,
        }

    @property
    def num_uniforms(self) -> int:
        return 0

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        pixels = np.asarray(decode_pil(example.image, example.name))
        image, labels = decoded(example, self.rule, pixels)
        arrays = self.views.arrays(image, example.name)
        return {
            **{name: on_canvas(array, self.spec[name]) for name, array in arrays.items()},
            "label": on_canvas(labels, self.spec["label"]),
            "size": np.array(labels.shape, np.int32),
        }


def view_specs(views: Views, shapes: tuple[ViewShape, ...], canvas: Size) -> dict[str, ArraySpec]:
    """Returns the arrays of views of these shapes, of images that lie on a canvas."""
    specs = {}
    for i, (rows, columns) in enumerate(shapes):
        windows = (rows.number * columns.number, rows.window, columns.window, 3)
        specs[f"windows_{i}"] = ArraySpec(windows, "uint8")
        for name, axis, length in (("rows", rows, canvas[0]), ("columns", columns, canvas[1])):
            positions = axis.number * views.grid(axis.window)
            specs[f"{name}_{i}"] = ArraySpec((length, positions), "float32")
    return specs


def decoded(example: Example, rule: LabelRule, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (image, classes [H, W] int16); raises BadImageError where their sizes differ."""
    labels = rule(example.label, example.name)  # type: ignore[arg-type]
    if labels.shape != image.shape[:2]:
        (h, w), (label_h, label_w) = image.shape[:2], labels.shape
        raise BadImageError(
            f"cannot use {example.name}: the image has {w} × {h} pixels and its label map "
            f"{label_w} × {label_h}; replace or remove this pair"
        )
    return image, labels


def on_canvas(array: np.ndarray, spec: ArraySpec) -> np.ndarray:
    """Returns the array at the start of one of the spec's shape, filled as it says."""
    if array.shape == spec.shape:
        return array
    canvas = np.full(spec.shape, spec.fill, spec.dtype)
    canvas[tuple(map(slice, array.shape))] = array
    return canvas
