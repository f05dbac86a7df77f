"""Label maps of images from the logits of their views (`data.views`), tile by tile."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from inceptionnext_jax.data.views import STRIDE

TILE = (32, 256)  # rows and columns of which all classes exist at once
_PROBE = 64  # pixels

Forward = Callable[[jax.Array], jax.Array]


def grid_offsets(model: nn.Module) -> tuple[int, ...]:
    """Returns how many positions the logits have beyond a quarter of the pixels, by remainder.

    Networks round differently where a side is no multiple of 4.
    """

    def positions(length: int) -> int:
        image = jax.ShapeDtypeStruct((1, length, _PROBE, 3), jnp.float32)
        logits, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), image)
        return int(logits.shape[1])

    return tuple(positions(_PROBE + i) - _PROBE // STRIDE for i in range(STRIDE))


def label_maps(
    forward: Forward,
    arrays: Mapping[str, jax.Array],
    size: jax.Array,
    canvas: tuple[int, int],
    plain_view: int,
) -> jax.Array:
    """Returns the most likely class of each pixel of D images, [D, M, *canvas] int16.

    M is 1 with one view. With several it is 2: by the logits of the plain view, and by the mean
    of all views' softmaxes, as mmsegmentation averages.

    Args:
      forward: Windows [D, h, w, 3] uint8 -> logits [D, g_h, g_w, K].
      arrays: Those of `Views.arrays`, with a first axis of D; matrices reach to the canvas.
      size: [D, 2] int32, height and width of each image; beyond them the result means nothing.
      canvas: Multiples of `TILE`.
      plain_view: Number of the view at scale 1 that is not mirrored.
    """
    views = [_logits(forward, arrays, i) for i in range(num_views(arrays))]
    maps = 1 if len(views) == 1 else 2
    blank = jnp.zeros((len(size), maps, *canvas), jnp.int16)
    steps = -(-size.max(axis=0) // jnp.asarray(TILE))

    def band(y: jax.Array, found: jax.Array) -> jax.Array:
        rows = [_slice(arrays[f"rows_{i}"], y * TILE[0], TILE[0]) for i in range(len(views))]
        bands = [_matmul("dtg,dgwk->dtwk", *pair) for pair in zip(rows, views, strict=True)]

        def tile(x: jax.Array, found: jax.Array) -> jax.Array:
            columns = [
                _slice(arrays[f"columns_{i}"], x * TILE[1], TILE[1]) for i in range(len(bands))
            ]
            logits = [_matmul("dcw,dtwk->dtck", *pair) for pair in zip(columns, bands, strict=True)]
            scores = [logits[plain_view]]
            if maps > 1:
                scores.append(functools.reduce(jnp.add, map(jax.nn.softmax, logits)))
            best = jnp.stack([score.argmax(axis=-1).astype(jnp.int16) for score in scores], axis=1)
            return lax.dynamic_update_slice(found, best, (0, 0, y * TILE[0], x * TILE[1]))

        return lax.fori_loop(0, steps[1], tile, found)

    return lax.fori_loop(0, steps[0], band, blank)


def num_views(arrays: Mapping[str, jax.Array]) -> int:
    """Returns the number of views in the arrays of `Views.arrays`."""
    return sum(name.startswith("windows_") for name in arrays)


def _logits(forward: Forward, arrays: Mapping[str, jax.Array], view: int) -> jax.Array:
    """Returns the logits of a view's windows side by side, [D, rows, columns, K]."""
    windows = jnp.moveaxis(arrays[f"windows_{view}"], 1, 0)
    logits = lax.map(forward, windows)  # one after the other, so that memory does not grow
    count, D, height, width, classes = logits.shape
    down = arrays[f"rows_{view}"].shape[-1] // height
    grid = logits.reshape(down, count // down, D, height, width, classes)
    return grid.transpose(2, 0, 3, 1, 4, 5).reshape(D, down * height, -1, classes)


def _slice(matrix: jax.Array, start: jax.Array, length: int) -> jax.Array:
    return lax.dynamic_slice_in_dim(matrix, start, length, axis=1)


def _matmul(equation: str, matrix: jax.Array, logits: jax.Array) -> jax.Array:
    return jnp.einsum(
        equation, matrix.astype(logits.dtype), logits, precision=lax.Precision.HIGHEST
    )
