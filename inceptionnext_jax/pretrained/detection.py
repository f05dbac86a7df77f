"""Objects in images, at the images' own size, found as in evaluation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.found import found_objects
from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.images import Image, Unreadable, prepared
from inceptionnext_jax.pretrained.preprocessing import DetectionPreprocessing
from inceptionnext_jax.types import Variables

THRESHOLD = 0.3


class Detection(NamedTuple):
    """The objects in one image, the likeliest first.

    Attributes:
      path: Path or name of the image.
      image: [H, W, 3] uint8, at its own size.
      boxes: [D, 4] float32, x1, y1, x2, y2 in pixels of it.
      classes: [D] int32.
      scores: [D] float32.
      names: Readable names of `classes`.
      masks: One of each object on the whole image, as COCO's compressed run lengths, which
        `pycocotools.mask.decode({"size": [H, W], "counts": mask})` reads; None if the network
        finds no masks.
    """

    path: str
    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    names: list[str]
    masks: list[bytes] | None = None


def predict_detection(
    pretrained: Pretrained,
    images: Iterable[Image],
    topk: int | None = None,
    threshold: float | None = None,
    unreadable: Unreadable | None = None,
) -> Iterator[Detection]:
    """Yields the objects of each image; arguments are those of `predict`."""
    before, names = pretrained.preprocessing, pretrained.readable_names
    assert isinstance(before, DetectionPreprocessing)
    compute = compiled_detector(pretrained)
    lowest = THRESHOLD if threshold is None else threshold

    def prepare(data: bytes | np.ndarray, name: str) -> np.ndarray:
        return before.decoded(data, name)

    for path, image in prepared(images, prepare, unreadable):
        pixels, plan = before.padded(image)
        size = np.array(plan.final, np.int32)
        found = compute(pixels, size)
        likely = found["valid"] & (found["scores"] >= lowest)
        found["valid"] = likely & (np.cumsum(likely) <= (topk or len(likely)))
        objects = found_objects(found, size, np.array(plan.size))
        yield Detection(path, image, **objects, names=[names[k] for k in objects["classes"]])


def compiled_detector(
    pretrained: Pretrained,
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Returns a function from a padded image [H, W, 3] uint8 and its size [2] int32 to objects.

    It is compiled for each canvas.
    """
    model, before = pretrained.model, pretrained.preprocessing
    variables = jax.device_put(pretrained.variables)

    @jax.jit
    def compute(variables: Variables, pixels: jax.Array, size: jax.Array) -> Any:
        images = normalized_within(pixels[None], size[None], before.mean, before.std)
        found: Any = model.apply(variables, images, size[None], train=False)
        return {name: array[0] for name, array in found.items()}

    return lambda pixels, size: jax.tree.map(np.asarray, compute(variables, pixels, size))


def normalized_within(
    pixels: jax.Array,
    sizes: jax.Array,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> jax.Array:
    """Returns normalised images with 0 in the padding, [B, H, W, 3] float32.

    Args:
      pixels: [B, H, W, 3] uint8.
      sizes: [B, 2] int32, height and width of each image within the padded batch.
      mean, std: By channel, on a scale of 0 to 1.
    """
    images = normalize(pixels, mean, std, jnp.float32)
    rows, columns = (
        jnp.arange(length) < sizes[:, i, None] for i, length in enumerate(pixels.shape[1:3])
    )
    return jnp.where(rows[:, :, None, None] & columns[:, None, :, None], images, 0)
