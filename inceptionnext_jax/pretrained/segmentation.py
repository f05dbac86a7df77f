"""Label maps of images at their own size, computed as in evaluation."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.resize import Size
from inceptionnext_jax.data.views import Views
from inceptionnext_jax.models.dense.label_map import TILE, grid_offsets, label_maps
from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.images import Image, Unreadable, prepared
from inceptionnext_jax.pretrained.preprocessing import DensePreprocessing


class Segmentation(NamedTuple):
    """The classes in one image.

    Attributes:
      path: Path or name of the image.
      image: [H, W, 3] uint8, at its own size.
      label_map: [H, W] int16, the class of each pixel.
      classes: [k] int, of those in the image, the largest first.
      shares: [k] float64, their shares of the image's area.
      names: Readable names of `classes`.
    """

    path: str
    image: np.ndarray
    label_map: np.ndarray
    classes: np.ndarray
    shares: np.ndarray
    names: list[str]


def predict_segmentation(
    pretrained: Pretrained,
    images: Iterable[Image],
    topk: int | None = None,
    unreadable: Unreadable | None = None,
) -> Iterator[Segmentation]:
    """Yields the label map of each image; arguments are those of `predict`."""
    before, names = pretrained.preprocessing, pretrained.readable_names
    assert isinstance(before, DensePreprocessing)
    views = before.views(grid_offsets(pretrained.model))
    compute = _compiled(pretrained, views)

    def prepare(data: bytes | np.ndarray, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        image = before.decoded(data, name)
        return image, views.arrays(image, name)

    for path, (image, arrays) in prepared(images, prepare, unreadable):
        label_map = compute(arrays, image.shape[:2])
        counts = np.bincount(label_map.ravel(), minlength=len(names))
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)][:topk]
        shares = counts[order] / label_map.size
        yield Segmentation(path, image, label_map, order, shares, [names[k] for k in order])


def _compiled(
    pretrained: Pretrained, views: Views
) -> Callable[[Mapping[str, np.ndarray], Size], np.ndarray]:
    """Returns a function from the arrays of `Views` and an image's size to [H, W] int16.

    It is compiled for each shape of views, and each canvas: sides are powers of two, so that these
    are few. Nothing is computed beyond the image.
    """
    model, before = pretrained.model, pretrained.preprocessing
    variables = jax.device_put(pretrained.variables)

    @functools.partial(jax.jit, static_argnames="canvas")
    def compute(variables, arrays, size, canvas):
        def forward(windows):
            images = normalize(windows, before.mean, before.std, jnp.float32)
            return model.apply(variables, images, train=False)

        return label_maps(forward, arrays, size, canvas, views.plain)

    def label_map(arrays: Mapping[str, np.ndarray], size: Size) -> np.ndarray:
        canvas = (_canvas_side(size[0], TILE[0]), _canvas_side(size[1], TILE[1]))
        reaching = {"rows_0": canvas[0], "columns_0": canvas[1]}
        batch = {
            name: _padded(array, reaching.get(name, len(array)))[None]
            for name, array in arrays.items()
        }
        found = compute(variables, batch, np.array([size], np.int32), canvas)
        return np.asarray(found)[0, 0, : size[0], : size[1]]

    return label_map


def _canvas_side(length: int, tile: int) -> int:
    """Returns the smallest power of two that holds the length and a tile."""
    return 1 << (max(length, tile) - 1).bit_length()


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    return np.pad(array, [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)])
