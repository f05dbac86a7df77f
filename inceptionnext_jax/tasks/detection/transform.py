"""Host transforms of detection: an image and its objects become arrays of fixed shape."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inceptionnext_jax.data import detection_augment
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.decode import decode_rgb
from inceptionnext_jax.data.detection_augment import Plan, Recipe
from inceptionnext_jax.data.instances import Instances, check_pixels
from inceptionnext_jax.data.resize import Size, require_size, up_to_multiple
from inceptionnext_jax.data.transform import ArraySpec

SIZE = ArraySpec((2,), "int32", fill=1)  # height and width of the part that is image


@dataclass(frozen=True)
class TrainTransform:
    """mmdetection's augmentation: mirror, resize, crop, pad.

    Makes "image" [*canvas, 3] uint8 and "size" [2] int32, the height and width of the part of it
    that is image, at the top left; and of the objects "boxes" [G, 4] float32 (x1, y1, x2, y2 in
    pixels of the canvas), "classes" [G] int32, "valid" [G] bool and, with a `mask_side` m, "masks"
    [G, m, m] uint8, each in its own box.

    Attributes:
      recipe: Sizes of images.
      canvas: Height and width to which images are padded.
      max_objects: G; further objects are left out.
      mask_side: m; None: no masks.
    """

    recipe: Recipe
    canvas: Size
    max_objects: int
    mask_side: int | None

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        count, side = self.max_objects, self.mask_side
        specs = {
            "image": ArraySpec((*self.canvas, 3), "uint8"),
            "size": SIZE,
            "boxes": ArraySpec((count, 4), "float32"),
            "classes": ArraySpec((count,), "int32"),
            "valid": ArraySpec((count,), "bool"),
        }
        return (
            specs if side is None else {**specs, "masks": ArraySpec((count, side, side), "uint8")}
        )

    @property
    def num_uniforms(self) -> int:
        return detection_augment.NUM_UNIFORMS

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        image, instances = decoded(example)
        plan = detection_augment.draw_plan(self.recipe, instances.size, self.canvas, uniforms)
        objects = detection_augment.object_arrays(plan, instances, self.max_objects, self.mask_side)
        return {**image_arrays(plan, image, self.canvas, example.name), **objects}


class View(NamedTuple):
    """A view of an image in evaluation.

    Attributes:
      scale: Factor of the size that images are resized within.
      mirrored: Whether left and right change places.
    """

    scale: float
    mirrored: bool

    def canvas(self, canvas: Size) -> Size:
        """Returns the canvas of this view, given that of the plain one."""
        height, width = (math.ceil(side * self.scale) for side in canvas)
        return canvas if self.scale == 1 else up_to_multiple((height, width), 32)

    def box(self, resize: Size) -> Size:
        """Returns the longest long and short side of this view, given those of the plain one."""
        return round(resize[0] * self.scale), round(resize[1] * self.scale)


PLAIN = View(1.0, False)


def make_views(scales: Sequence[float], flip: bool) -> tuple[View, ...]:
    """Returns the plain view, and then the others."""
    views = [View(float(s), mirrored) for s in scales for mirrored in ((False, True)[: 1 + flip])]
    return PLAIN, *(view for view in views if view != PLAIN)


def view_names(number: int) -> tuple[str, str]:
    """Returns the names of the arrays of a view: its image and its size."""
    return (f"image_{number}", f"size_{number}") if number else ("image", "size")


@dataclass(frozen=True)
class EvalTransform:
    """An image for evaluation, resized and padded.

    Makes "image" [*canvas, 3] uint8, "size" [2] int32, the height and width of the part of it that
    is image, at the top left, and "original" [2] int32, those of the image as it is stored. With
    several views, the others are "image_1", "size_1" and so on.

    Attributes:
      resize: Longest long side and longest short side, in pixels.
      canvas: Height and width to which images are padded.
      views: The plain one first.
    """

    resize: Size
    canvas: Size
    views: tuple[View, ...] = (PLAIN,)

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        specs = {}
        for number, view in enumerate(self.views):
            image, size = view_names(number)
            specs[image] = ArraySpec((*view.canvas(self.canvas), 3), "uint8")
            specs[size] = SIZE
        return {**specs, "original": SIZE}

    @property
    def num_uniforms(self) -> int:
        return 0

    def __call__(self, example: Example, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        image, _ = decoded(example)
        return self.arrays(image, example.name)

    def arrays(self, image: np.ndarray, name: str) -> dict[str, np.ndarray]:
        """Returns the arrays of an image, [H, W, 3] uint8; `name` is for messages."""
        size = (image.shape[0], image.shape[1])
        found = {"original": np.array(size, np.int32)}
        for number, view in enumerate(self.views):
            canvas = view.canvas(self.canvas)
            plan = detection_augment.plain_plan(size, view.box(self.resize), canvas)
            arrays = image_arrays(plan._replace(mirrored=view.mirrored), image, canvas, name)
            found |= dict(zip(view_names(number), (arrays["image"], arrays["size"]), strict=True))
        return found


def decoded(example: Example) -> tuple[np.ndarray, Instances]:
    """Returns an image, [H, W, 3] uint8, and its objects.

    Raises BadImageError for an unreadable image, and for one of another size than its objects say.
    """
    image = decode_rgb(example.image, example.name)
    instances = example.label
    assert isinstance(instances, Instances)
    check_pixels(image, instances, example.name)
    return image, instances


def image_arrays(plan: Plan, image: np.ndarray, canvas: Size, name: str) -> dict[str, np.ndarray]:
    """Returns "image" [*canvas, 3] uint8, and "size" [2] int32 of the part that is image."""
    require_size(plan.final, name)
    pixels = detection_augment.augment_image(plan, image)
    return {
        "image": detection_augment.on_canvas(pixels, canvas),
        "size": np.array(plan.final, np.int32),
    }
