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
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import create_model, model_info
from inceptionnext_jax.pretrained import class_names as names
from inceptionnext_jax.pretrained.preprocessing import Preprocessing
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
    """

    name: str
    variables: Variables
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing = None  # type: ignore[assignment]
    class_names: Sequence[str] = ()
    licence: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UserError for an unknown model, or more names than classes."""
        info = model_info(self.name)
        if self.preprocessing is None:
            object.__setattr__(self, "preprocessing", Preprocessing.of(info))
        given = self.class_names
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        if not is_list or not all(type(name) is str for name in given):
            raise UserError("class_names are not a list of strings")
        if len(given) > self.num_classes:
            raise UserError(f"{len(given)} class_names are given for {self.num_classes} classes")
        object.__setattr__(self, "class_names", tuple(given))

    @property
    def num_classes(self) -> int:
        node: Any = self.variables
        try:
            for part in family(self.name).classifier:
                node = node[part]
            return int(node.shape[0])
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"the variables have no classifier of {self.name}") from error

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network, for inference."""
        return create_model(self.name, **{"num_classes": self.num_classes, **self.options})

    @property
    def readable_names(self) -> list[str]:
        """A printable name for each class."""
        return names.readable(self.class_names, self.num_classes)


def fresh_classifier(loaded: Pretrained, num_classes: int, seed: int = 0) -> Pretrained:
    """Returns the same network with a new last layer for `num_classes` classes.

    Its kernel is drawn as at the start of training; class names and metrics are dropped.
    """
    model = create_model(loaded.name, **{**loaded.options, "num_classes": num_classes})
    size = loaded.preprocessing.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = dict(paths_and_leaves(jax.eval_shape(model.init, jax.random.key(0), image)))
    module = "/".join(family(loaded.name).classifier[:-1])
    kernel, bias = f"{module}/kernel", f"{module}/bias"
    drawn = np.random.default_rng(seed).normal(0, 0.02, shapes[kernel].shape)
    leaves = {
        **dict(paths_and_leaves(loaded.variables)),
        kernel: drawn.astype(np.float32),
        bias: np.zeros(shapes[bias].shape, np.float32),
    }
    return dataclasses.replace(loaded, variables=nested(leaves), class_names=(), metrics={})
