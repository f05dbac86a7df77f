"""The exported function, from images to results, with norms folded and layers merged."""

import functools
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
from inceptionnext_jax.pretrained import DetectionPreprocessing, Pretrained
from inceptionnext_jax.pretrained.detection import normalized_within
from inceptionnext_jax.types import Variables


class Inference(NamedTuple):
    """A deployed network and the type of its images.

    Attributes:
      pretrained: The network that was deployed.
      model: Its deployed form.
      variables: Those of the deployed form.
      uint8: Whether images are pixels, [B, H, W, 3] uint8, and normalisation is part of the
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
        """(S, S, 3); of detectors (H, W, 3), which holds each of the canvases."""
        before = self.pretrained.preprocessing
        if isinstance(before, DetectionPreprocessing):
            height, width = (max(sides) for sides in zip(*before.canvases, strict=True))
            return height, width, 3
        return before.image_size, before.image_size, 3

    @property
    def takes_sizes(self) -> bool:
        """Whether the heights and widths of images within their padding are an input too."""
        return isinstance(self.pretrained.preprocessing, DetectionPreprocessing)

    def inputs(self, batch: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns what the function takes besides variables, for a batch size or a symbol."""
        images = jax.ShapeDtypeStruct((batch, *self.image_shape), self.input_dtype)
        sizes = jax.ShapeDtypeStruct((batch, 2), jnp.int32)
        return (images, sizes) if self.takes_sizes else (images,)

    def outputs(self) -> Any:
        """Returns the shapes of the results for one image."""
        return jax.eval_shape(self.function("conv", "dense"), self.variables, *self.inputs(1))

    def function(self, depthwise_impl: str, roi_align_impl: str) -> Callable[..., Any]:
        """Returns (variables, *inputs) -> logits [B, …] float32, or the results of a detector.

        The names are those of one implementation of each; networks without the layer ignore it.
        """
        model = with_options(
            self.model, depthwise_impl=depthwise_impl, roi_align_impl=roi_align_impl
        )
        return lambda variables, *inputs: self._applied(model, variables, *inputs)

    def _applied(self, model: nn.Module, variables: Variables, *inputs: jax.Array) -> Any:
        images, *sizes = inputs
        return model.apply(variables, self.prepared(images, *sizes), *sizes, train=False)

    def prepared(self, images: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        """Returns images as the network takes them."""
        before = self.pretrained.preprocessing
        if not self.uint8:
            return images
        if sizes is not None:
            return normalized_within(images, sizes, before.mean, before.std)
        return normalize(images, before.mean, before.std, jnp.float32)

    def reference(self, *inputs: np.ndarray) -> Any:
        """Returns the results of the network before deployment, to compare exported files with."""
        model = with_options(self.pretrained.model, depthwise_impl="conv")  # compiles fastest
        apply = jax.jit(functools.partial(self._applied, model))
        return jax.tree.map(np.asarray, apply(self.pretrained.variables, *inputs))

    def examples(self, count: int) -> tuple[np.ndarray, ...]:
        """Returns inputs for so many images of noise, coarse enough to change the results."""
        random = np.random.default_rng(0)
        height, width, channels = self.image_shape
        coarse = random.integers(0, 256, (count, -(-height // 8), -(-width // 8), channels), "u1")
        pixels = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)[:, :height, :width]
        before = self.pretrained.preprocessing
        if not self.uint8:
            pixels = ((pixels / 255 - before.mean) / before.std).astype(np.float32)
        if not self.takes_sizes:
            return (pixels,)
        # The last image has padding.
        sizes = np.tile(np.array([height, width], np.int32), (count, 1))
        sizes[-1] -= 16
        pixels[-1, height - 16 :] = pixels[-1, :, width - 16 :] = 0
        return pixels, sizes


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


def largest_difference(found: Any, expected: Any) -> float:
    """Returns the largest difference, relative to the largest expected value or to 1."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
