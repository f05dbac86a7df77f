"""Class activation maps: the regions of an image that speak for a class.

Grad-CAM (Selvaraju et al., 2017) and Grad-CAM++ (Chattopadhyay et al., 2018), for any layer of any
network whose output is a map. The patches of a vision transformer count as a map, without the class
token.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.network import last_stage

METHODS = ("gradcam", "gradcam++")


class ClassMaps(NamedTuple):
    """Heat maps of a batch.

    Attributes:
      maps: [B, h, w] float32 ≥ 0, of the size of the layer's output; higher where it contributes
        more to the class.
      classes: [B] int, the explained class of each image.
      logits: [B, num_classes] float32.
    """

    maps: np.ndarray
    classes: np.ndarray
    logits: np.ndarray


def layers(model: nn.Module, image_size: int) -> dict[str, tuple[int, int, int]]:
    """Returns {path: (h, w, channels)} of all layers whose output is a map, in calling order.

    Args:
      model: Not with `scan`, which makes one layer of all blocks of a stage.
      image_size: Pixels on a side.
    """
    found: dict[str, tuple[int, int, int]] = {}

    def note(path: str, out: jax.Array) -> jax.Array:
        as_map = _as_map(out)
        if as_map is not None:
            found[path] = (as_map.shape[1], as_map.shape[2], as_map.shape[3])
        return out

    with nn.intercept_methods(_interceptor(note)):
        jax.eval_shape(
            functools.partial(model.init, jax.random.key(0)),
            jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32),
        )
    return found


def last_layer(model: nn.Module, shapes: dict[str, tuple[int, int, int]]) -> str:
    """Returns the layer to explain where none is named: the network's choice, or the last stage."""
    choose = getattr(model, "explained_layer", last_stage)
    return choose(list(shapes))


def class_maps(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    layer: str | None = None,
    method: str = "gradcam",
    classes: jax.Array | None = None,
) -> ClassMaps:
    """Returns the maps of a batch.

    Args:
      model: From `create_model`.
      variables: Its variables.
      images: [B, S, S, 3] float32, normalised.
      layer: A path of `layers`, such as "stages_2/blocks_0"; None for the last stage.
      method: One of `METHODS`.
      classes: [B] int, to explain; None for each image's likeliest.

    Raises:
      UserError: The network has no such layer, or the method is unknown.
    """
    explain, _ = make_class_maps(model, images.shape[1], layer, method)
    return explain(variables, images, classes)


def make_class_maps(
    model: nn.Module, image_size: int, layer: str | None = None, method: str = "gradcam"
) -> tuple[Callable[..., ClassMaps], str]:
    """Returns (function of (variables, images, classes or None), the layer's path).

    Arguments and errors are those of `class_maps`; the function is compiled once.
    """
    if method not in METHODS:
        raise UserError(
            f"method={method!r} is unknown, expected one of {', '.join(METHODS)}"
            f"{suggestion(method, METHODS)}"
        )
    shapes = layers(model, image_size)
    path = layer or last_layer(model, shapes)
    if path not in shapes:
        raise UserError(
            f"layer={path!r} gives no map in this network, take one of {', '.join(_short(shapes))}"
            f"{suggestion(path, shapes)}"
        )
    weigh = _gradcam if method == "gradcam" else _gradcam_plus_plus

    @jax.jit
    def compute(variables, images, classes):
        delta = jnp.zeros((images.shape[0], *shapes[path]))

        def score(delta):
            return _scores(model, variables, images, classes, path, delta)

        gradients, (activations, logits, chosen) = jax.grad(score, has_aux=True)(delta)
        maps = jax.vmap(weigh)(activations.astype(jnp.float32), gradients)
        return maps, logits, chosen

    def explain(variables: Any, images: jax.Array, classes: Any = None) -> ClassMaps:
        asked = jnp.full(len(images), -1) if classes is None else jnp.asarray(classes)
        maps, logits, chosen = compute(variables, images, asked)
        return ClassMaps(np.asarray(maps), np.asarray(chosen), np.asarray(logits))

    return explain, path


def _scores(
    model: nn.Module, variables: Any, images: Any, classes: Any, path: str, delta: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Returns the sum of the explained logits with `delta` added to the output of `path`.

    In evaluation images do not interact, so the sum's gradient is that of each image.
    """
    seen: list[Any] = []

    def add(name: str, out: jax.Array) -> jax.Array:
        if name != path:
            return out
        seen.append(_as_map(out))
        change = delta.astype(out.dtype)
        if change.shape != out.shape:  # a class token precedes the patches
            B, h, w, C = change.shape
            change = jnp.pad(change.reshape(B, h * w, 1, C), ((0, 0), (1, 0), (0, 0), (0, 0)))
        return out + change

    with nn.intercept_methods(_interceptor(add)):
        logits: Any = model.apply(variables, images, train=False)
    chosen = jnp.where(classes < 0, logits.argmax(-1), classes)
    picked = jnp.take_along_axis(logits, chosen[:, None], axis=-1)
    return picked.sum(), (seen[-1], logits, chosen)


def _as_map(out: jax.Array) -> jax.Array | None:
    """Returns a layer's output [B, h, w, C] as a map, or None if it is not one.

    Images are square and so are maps; [B, 1 + n², 1, C] are a class token and n × n patches; other
    shapes are windows of attention.
    """
    B, h, w, C = out.shape
    side = math.isqrt(h - 1)
    if w == 1 and h == 1 + side**2 and side:
        return out[:, 1:].reshape(B, side, side, C)
    return out if h == w else None


def _interceptor(visit: Callable[[str, jax.Array], jax.Array]) -> Callable[..., Any]:
    """Lets `visit` replace the output of each module that returns an array [B, h, w, C]."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        is_map = isinstance(out, jax.Array) and out.ndim == 4
        if context.method_name != "__call__" or not is_map or not context.module.path:
            return out
        return visit("/".join(context.module.path), out)

    return intercept


def _gradcam(activations: jax.Array, gradients: jax.Array) -> jax.Array:
    """activations, gradients: [h, w, C]. The weight of a channel is its mean gradient."""
    return jax.nn.relu(activations @ gradients.mean((0, 1)))


def _gradcam_plus_plus(activations: jax.Array, gradients: jax.Array) -> jax.Array:
    """activations, gradients: [h, w, C]. Equation 19 of the paper, for the exponent of the logit.

    alpha = g² / (2 g² + g³ ΣA) = 1 / (2 + g ΣA) is at most 1/2 for non-negative maps, which the
    paper assumes. Maps of these networks may be negative, and then the denominator passes through
    zero: a negative g ΣA counts as 0, and a position without gradient has no weight.
    """
    total = activations.sum((0, 1))
    alpha = 1 / (2 + jax.nn.relu(gradients * total))
    weights = (alpha * jax.nn.relu(gradients)).sum((0, 1))
    return jax.nn.relu(activations @ weights)


def _short(shapes: dict[str, Any]) -> list[str]:
    """Stages and blocks, few enough for a message; all layers if there are none."""
    listed = [path for path in shapes if path.count("/") < 2 and not path.endswith("norm")]
    return listed or list(shapes)
