"""Weights together with preprocessing, class names and licence."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from inceptionnext_jax.convert.tables import family
from inceptionnext_jax.data import ade20k, coco
from inceptionnext_jax.data.class_list import ClassList
from inceptionnext_jax.data.label_maps import Color, voc_palette
from inceptionnext_jax.data.object_colors import object_colors
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import create_model, model_info
from inceptionnext_jax.pretrained import class_names as names
from inceptionnext_jax.pretrained.preprocessing import AnyPreprocessing, preprocessing_of
from inceptionnext_jax.trees import nested, paths_and_leaves
from inceptionnext_jax.types import Variables


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights together with preprocessing, class names and licence.

    Attributes:
      name: Name of the model, as in `create_model`.
      variables: {"params": …} and, where the model has them, "batch_stats" and "host": arrays of
        the plain tree.
      options: Options of `create_model` that the network was made with.
      preprocessing: The evaluation path of images; None becomes the named model's.
      class_names: A name for each class; empty where they are unknown.
      licence: Licence of the weights.
      metrics: Metrics measured with the weights, such as {"eval/top1": 0.98}.
      palette: A colour for each class, to draw label maps; empty where there are none.
    """

    name: str
    variables: Variables
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: AnyPreprocessing = None  # type: ignore[assignment]
    class_names: Sequence[str] = ()
    licence: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    palette: Sequence[Color] = ()

    def __post_init__(self) -> None:
        """Raises UserError for an unknown model, or more names or colours than classes."""
        info = model_info(self.name)
        if self.preprocessing is None:
            object.__setattr__(self, "preprocessing", preprocessing_of(info))
        given = self.class_names
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        if not is_list or not all(type(name) is str for name in given):
            raise UserError("class_names are not a list of strings")
        if len(given) > self.num_classes:
            raise UserError(f"{len(given)} class_names are given for {self.num_classes} classes")
        object.__setattr__(self, "class_names", tuple(given))
        object.__setattr__(self, "palette", _checked_palette(self.palette, self.num_classes))

    @property
    def num_classes(self) -> int:
        known = family(self.name)
        node: Any = self.variables
        try:
            for part in known.classifier:
                node = node[part]
            return int(node.shape[0]) // known.per_class
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"the variables have no classifier of {self.name}") from error

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network, for inference."""
        return create_model(self.name, **{"num_classes": self.num_classes, **self.options})

    @property
    def readable_names(self) -> list[str]:
        """A printable name for each class."""
        return names.readable(self.class_names or self._published.names, self.num_classes)

    @property
    def colors(self) -> list[Color]:
        """A colour for each class: the palette's, or one of PASCAL VOC's; bright of detectors."""
        if model_info(self.name).task == "detection" and not self.palette:
            return list(object_colors(self.num_classes))
        known = self.palette or self._published.colors or ()
        return [*known, *voc_palette(self.num_classes)[len(known) :]]

    @property
    def _published(self) -> ClassList:
        """The classes of ADE20K or COCO for a dense network that has as many; else none."""
        kind = (model_info(self.name).task, self.num_classes)
        if not self.class_names and kind == ("segmentation", ade20k.NUM_CLASSES):
            return ade20k.classes()
        known = coco.coco_categories().names
        if not self.class_names and kind == ("detection", len(known)):
            return ClassList(known, None, ())
        return ClassList((), None, ())


def _checked_palette(given: Any, num_classes: int) -> tuple[Color, ...]:
    """Returns the palette as tuples; raises UserError for anything but colours."""
    if not isinstance(given, list | tuple) or not all(map(_is_color, given)):
        raise UserError("palette is not a list of colours, three whole numbers from 0 to 255 each")
    if len(given) > num_classes:
        raise UserError(f"a palette of {len(given)} colours is given for {num_classes} classes")
    return tuple((red, green, blue) for red, green, blue in given)


def _is_color(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(type(number) is int and 0 <= number < 256 for number in value)


def fresh_classifier(loaded: Pretrained, num_classes: int, seed: int = 0) -> Pretrained:
    """Returns the same network with new last layers for `num_classes` classes.

    Kernels are drawn as at the start of training; class names, palette and metrics are dropped.
    """
    model = create_model(loaded.name, **{**loaded.options, "num_classes": num_classes})
    size = loaded.preprocessing.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = dict(paths_and_leaves(jax.eval_shape(model.init, jax.random.key(0), image)))
    generator = np.random.default_rng(seed)
    leaves = {
        path: leaf if leaf.shape == shapes[path].shape else _fresh(path, shapes[path], generator)
        for path, leaf in paths_and_leaves(loaded.variables)
    }
    return dataclasses.replace(
        loaded, variables=nested(leaves), class_names=(), palette=(), metrics={}
    )


def _fresh(path: str, like: jax.ShapeDtypeStruct, generator: np.random.Generator) -> np.ndarray:
    """Returns an array of a last layer, or of a norm in it, as at the start of training."""
    name = path.rsplit("/", 1)[1]
    if name == "kernel":
        return generator.normal(0, 0.02, like.shape).astype(np.float32)
    return np.full(like.shape, name in ("scale", "var"), np.float32)
