"""Class probabilities of images, computed in batches as in evaluation."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.pretrained.bundle import Pretrained

Image = str | Path | bytes | np.ndarray | tuple[str, bytes]


class Prediction(NamedTuple):
    """The most likely classes of one image.

    Attributes:
      path: Path or name of the image.
      classes: [k] int, the likeliest first.
      probabilities: [k] float32, by the softmax over all classes.
      names: Readable names of `classes`.
    """

    path: str
    classes: np.ndarray
    probabilities: np.ndarray
    names: list[str]


def predict(
    pretrained: Pretrained,
    images: Iterable[Image],
    topk: int = 5,
    batch_size: int = 32,
    unreadable: Callable[[UserError], None] | None = None,
) -> Iterator[Prediction]:
    """Yields a prediction for each image, in order.

    Args:
      pretrained: From `load_pretrained`.
      images: Paths, encoded files, (name, encoded file), or arrays [H, W, 3] uint8.
      topk: Classes of each image, or all if the network has fewer.
      batch_size: Images computed at once; results depend on it only by rounding.
      unreadable: Called with the error of an unreadable image, which is left out; None raises it.

    Raises:
      UserError: An image cannot be read and `unreadable` is None.
    """
    for option, value in (("topk", topk), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{option}={value} is not a whole number ≥ 1")
    names = pretrained.readable_names
    probabilities = _compiled(pretrained)
    batch: list[tuple[str, np.ndarray]] = []

    def answers() -> Iterator[Prediction]:
        pixels = np.stack([image for _, image in batch])
        padding = [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]
        found = np.asarray(probabilities(np.pad(pixels, padding)))[: len(batch)]
        for (path, _), row in zip(batch, found, strict=True):
            best = np.argsort(-row, kind="stable")[:topk]
            yield Prediction(path, best, row[best], [names[k] for k in best])
        batch.clear()

    for index, image in enumerate(images):
        path, data = image if isinstance(image, tuple) else (f"image {index}", image)
        try:
            if isinstance(data, str | Path):
                path, data = str(data), read_image(data)
            batch.append((path, pretrained.preprocessing.pixels(data, path)))
        except UserError as error:
            if unreadable is None:
                raise
            unreadable(error)
            continue
        if len(batch) == batch_size:
            yield from answers()
    if batch:
        yield from answers()


def read_image(path: str | Path) -> bytes:
    """Returns the bytes of an image file; raises UserError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read image {path}: {why}") from error


def _compiled(pretrained: Pretrained) -> Callable[[np.ndarray], jax.Array]:
    """Returns a function from pixels [N, S, S, 3] uint8 to [N, num_classes] float32."""
    model, before = pretrained.model, pretrained.preprocessing
    variables = jax.device_put(pretrained.variables)

    @jax.jit
    def probabilities(variables, images):
        x = normalize(images, before.mean, before.std, jnp.float32)
        logits: Any = model.apply(variables, x, train=False)
        return jax.nn.softmax(logits)

    return lambda images: probabilities(variables, images)
