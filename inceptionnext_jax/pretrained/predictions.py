"""Answers of networks for images, computed as in evaluation."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import model_info
from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.detection import Detection, predict_detection
from inceptionnext_jax.pretrained.images import Image, Unreadable, prepared
from inceptionnext_jax.pretrained.segmentation import Segmentation, predict_segmentation

_TOPK, _BATCH = 5, 32


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
    topk: int | None = None,
    batch_size: int | None = None,
    unreadable: Unreadable | None = None,
    threshold: float | None = None,
) -> Iterator[Prediction] | Iterator[Segmentation] | Iterator[Detection]:
    """Yields an answer for each image, in order: classes, a label map or objects.

    Args:
      pretrained: From `load_pretrained`.
      images: Paths, encoded files, (name, encoded file), or arrays [H, W, 3] uint8.
      topk: Classes of each image, or objects, or all if there are fewer. None is 5 classes of a
        classifier, and all classes in a label map and all objects.
      batch_size: Images computed at once, at most; results depend on it only by rounding. None is
        32. For label maps and objects, images are computed one by one.
      unreadable: Called with the error of an unreadable image, which is left out; None raises it.
      threshold: Lowest score of objects; None is 0.3, and with 0 there are all that evaluation
        scores.

    Raises:
      UserError: An image cannot be read and `unreadable` is None, or an option is out of range.
    """
    for option, value in (("topk", topk), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{option}={value} is not a whole number ≥ 1")
    name = pretrained.name
    task = model_info(name).task
    if task != "classification" and batch_size is not None:
        what = "makes label maps" if task == "segmentation" else "finds objects"
        raise UserError(f"batch_size is for classifiers; {name} {what}, one image after the other")
    if task == "detection":
        if threshold is not None and not 0 <= threshold <= 1:
            raise UserError(f"threshold={threshold} is not a number from 0 to 1")
        return predict_detection(pretrained, images, topk, threshold, unreadable)
    if threshold is not None:
        raise UserError(f"threshold is for detectors, and {name} is a network of {task}")
    if task == "segmentation":
        return predict_segmentation(pretrained, images, topk, unreadable)
    batch_size = batch_size or _BATCH
    if isinstance(images, Sized):
        batch_size = max(1, min(batch_size, len(images)))
    return _predict_classes(pretrained, images, topk or _TOPK, batch_size, unreadable)


def _predict_classes(
    pretrained: Pretrained,
    images: Iterable[Image],
    topk: int,
    batch_size: int,
    unreadable: Unreadable | None,
) -> Iterator[Prediction]:
    names = pretrained.readable_names
    probabilities = _compiled(pretrained)
    batch: list[tuple[str, np.ndarray]] = []
    for item in prepared(images, pretrained.preprocessing.pixels, unreadable):
        batch.append(item)
        if len(batch) == batch_size:
            yield from _answers(probabilities, batch, batch_size, topk, names)
            batch.clear()
    if batch:
        yield from _answers(probabilities, batch, batch_size, topk, names)


def _answers(
    probabilities: Callable[[np.ndarray], jax.Array],
    batch: Sequence[tuple[str, np.ndarray]],
    batch_size: int,
    topk: int,
    names: Sequence[str],
) -> Iterator[Prediction]:
    pixels = np.stack([image for _, image in batch])
    padding = [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]
    found = np.asarray(probabilities(np.pad(pixels, padding)))[: len(batch)]
    for (path, _), row in zip(batch, found, strict=True):
        best = np.argsort(-row, kind="stable")[:topk]
        yield Prediction(path, best, row[best], [names[k] for k in best])


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
