"""The exported function, from images to logits, with norms folded and layers merged."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models import deploy
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.pretrained import Pretrained
from inceptionnext_jax.types import Variables


class Inference(NamedTuple):
    """A deployed network and the type of its images.

    Attributes:
      pretrained: The network that was deployed.
      model: Its deployed form.
      variables: Those of the deployed form.
      uint8: Whether images are pixels, [B, S, S, 3] uint8, and normalisation is part of the
        function; otherwise they are normalised float32.
    """

    pretrained: Pretrained
    model: nn.Module
    variables: Variables
    uint8: bool

    @property
    def input_dtype(self) -> Any:
        return jnp.uint8 if self.uint8 else jnp.float32

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(S, S, 3)."""
        size = self.pretrained.preprocessing.image_size
        return size, size, 3

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the logits of one image."""
        image = jax.ShapeDtypeStruct((1, *self.image_shape), self.input_dtype)
        found = jax.eval_shape(self.function("conv"), self.variables, image)
        return tuple(found.shape[1:])

    def function(self, depthwise_impl: str) -> Callable[[Variables, jax.Array], jax.Array]:
        """Returns (variables, images) -> logits [B, …] float32, by one implementation."""
        model = with_options(self.model, depthwise_impl=depthwise_impl)

        def logits(variables: Variables, images: jax.Array) -> jax.Array:
            result: Any = model.apply(variables, self.prepared(images), train=False)
            return result

        return logits

    def prepared(self, images: jax.Array) -> jax.Array:
        """Returns images as the network takes them."""
        before = self.pretrained.preprocessing
        if not self.uint8:
            return images
        return normalize(images, before.mean, before.std, jnp.float32)

    def reference(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of the network before deployment, to compare exported files with."""
        model = with_options(self.pretrained.model, depthwise_impl="conv")  # compiles fastest
        apply = jax.jit(lambda v, x: model.apply(v, self.prepared(x), train=False))
        return np.asarray(apply(self.pretrained.variables, images))

    def examples(self, count: int) -> np.ndarray:
        """Returns [count, S, S, 3] images of noise, coarse enough to change the logits."""
        random = np.random.default_rng(0)
        size, _, channels = self.image_shape
        coarse = random.integers(0, 256, (count, -(-size // 8), -(-size // 8), channels), np.uint8)
        pixels = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)[:, :size, :size]
        if self.uint8:
            return pixels
        before = self.pretrained.preprocessing
        return ((pixels / 255 - before.mean) / before.std).astype(np.float32)


def make_inference(pretrained: Pretrained, uint8: bool) -> Inference:
    """Deploys a network for export.

    Raises:
      UserError: The network does not compute in float32.
    """
    dtype = jnp.dtype(getattr(pretrained.model, "dtype", jnp.float32))
    if dtype != jnp.float32:
        raise UserError(f"networks are exported in float32, this one computes in {dtype}")
    model, variables = deploy(pretrained.model, pretrained.variables)
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables)
    return Inference(pretrained, model, arrays, uint8)


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest expected value or to 1."""
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
