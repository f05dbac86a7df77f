"""Class maps and receptive fields of a trained network for images, and its answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.explain.cam import make_class_maps
from inceptionnext_jax.explain.heat import enlarged
from inceptionnext_jax.explain.receptive_field import make_receptive_field
from inceptionnext_jax.models.registry import model_info
from inceptionnext_jax.pretrained import Pretrained

_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Class maps and answers of one network.

    Attributes:
      layer: Path of the explained layer.
      maps: [N, h, w] float32 ≥ 0, before any enlargement.
      heat: [N, S, S] float32, enlarged to the images.
      classes: [N] int, the explained class of each image.
      probabilities: [N] float32, of these classes.
    """

    layer: str
    maps: np.ndarray
    heat: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


def explain_images(
    pretrained: Pretrained,
    images: np.ndarray,
    layer: str | None = None,
    method: str = "gradcam",
    target: int | None = None,
) -> Explanation:
    """Explains a network's answers for images.

    Args:
      pretrained: The network with its weights.
      images: [N, S, S, 3] uint8, as `pretrained.preprocessing.pixels` returns them.
      layer: Path, as in `cam.class_maps`.
      method: "gradcam" or "gradcam++".
      target: The class to explain; None for each image's likeliest.

    Raises:
      UserError: The network is no classifier, or there is no such layer, method or class.
    """
    task = model_info(pretrained.name).task
    if task != "classification":
        raise UserError(
            f"class activation maps explain classifiers, and {pretrained.name} is a network of "
            f"{task}; `predict --to` draws what it sees"
        )
    if target is not None and not 0 <= target < pretrained.num_classes:
        raise UserError(f"class {target} does not exist: there are {pretrained.num_classes}")
    size = images.shape[1]
    explain, path = make_class_maps(pretrained.model, size, layer, method)
    variables = jax.device_put(pretrained.variables)
    found = []
    for batch, count in _batches(pretrained, images):
        classes = None if target is None else jnp.full(len(batch), target)
        found.append((explain(variables, batch, classes), count))
    maps = np.concatenate([result.maps[:count] for result, count in found])
    chosen = np.concatenate([result.classes[:count] for result, count in found])
    logits = np.concatenate([result.logits[:count] for result, count in found])
    chances = np.asarray(jax.nn.softmax(logits))
    probabilities = np.take_along_axis(chances, chosen[:, None], axis=1)[:, 0]
    return Explanation(path, maps, enlarged(maps, size), chosen, probabilities)


def receptive_field(pretrained: Pretrained, images: np.ndarray) -> np.ndarray:
    """Returns the effective receptive field, [S, S] float64 ≥ 0, over images [N, S, S, 3] uint8."""
    field = make_receptive_field(pretrained.model)
    variables = jax.device_put(pretrained.variables)
    # One image at a time: padding would count as an image here.
    parts = (field(variables, _normalised(pretrained, image[None])) for image in images)
    return np.sum(list(parts), axis=0)


def find_class(pretrained: Pretrained, asked: str) -> int:
    """Returns the index of the class with this name or number; raises UserError if none has it."""
    for names in (list(pretrained.class_names), pretrained.readable_names):
        if asked in names:
            return names.index(asked)
    if asked.isdecimal() and int(asked) < pretrained.num_classes:
        return int(asked)
    raise UserError(
        f"class {asked!r} is neither a name nor a number below {pretrained.num_classes}"
        f"{suggestion(asked, pretrained.readable_names)}"
    )


def _batches(pretrained: Pretrained, images: np.ndarray):
    """Yields ([≤ _BATCH, S, S, 3] float32 normalised, number of images before padding)."""
    size = min(_BATCH, len(images))
    for start in range(0, len(images), size):
        part = images[start : start + size]
        padded = np.pad(part, [(0, size - len(part)), (0, 0), (0, 0), (0, 0)])
        yield _normalised(pretrained, padded), len(part)


def _normalised(pretrained: Pretrained, images: np.ndarray) -> jax.Array:
    before = pretrained.preprocessing
    return normalize(jnp.asarray(images), before.mean, before.std, jnp.float32)
