"""Comparison of an exported detector with the network."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export.function import Inference, largest_difference
from inceptionnext_jax.models.network import with_options

MAPS_TOLERANCE = 1e-3  # of the backbone's maps
SCORE_TOLERANCE, PIXELS_TOLERANCE = 1e-3, 0.5
# Rounding may turn over a decision between boxes that overlap by the threshold, and so a few more.
LARGEST_SHARE = 0.05


def check_detector(
    inference: Inference, found: Mapping[str, Any], examples: tuple[np.ndarray, ...]
) -> None:
    """Compares the results of an exported detector, and its maps, with the network's.

    Noise may contain nothing that a detector knows; the maps show mistakes then too.

    Args:
      inference: The detector.
      found: Results of the exported function.
      examples: Its inputs.

    Raises:
      UserError: Either differs by more than rounding.
    """
    difference = _maps_difference(inference, examples)
    if not difference <= MAPS_TOLERANCE:
        raise UserError(
            f"the maps of the deployed network differ by {difference:.1e} from the network's, more "
            f"than {MAPS_TOLERANCE:.0e}; nothing was written, please report it"
        )
    share = unmatched(found, inference.reference(*examples))
    if not share <= LARGEST_SHARE:
        raise UserError(
            f"{share:.0%} of the exported function's detections are not the network's; nothing was "
            f"written, please report it"
        )


def _maps_difference(inference: Inference, examples: tuple[np.ndarray, ...]) -> float:
    """The largest difference between maps of the backbone, before and after deployment."""

    def maps(model: Any, variables: Any) -> Any:
        plain = with_options(model, depthwise_impl="conv")
        images = inference.prepared(*map(jax.numpy.asarray, examples))
        return jax.jit(lambda v, x: plain.apply(v, x, method="features"))(variables, images)

    before = maps(inference.pretrained.model, inference.pretrained.variables)
    after = maps(inference.model, inference.variables)
    return max(map(largest_difference, after, before))


def unmatched(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Returns the share of detections of either without an equal one in the other.

    found, expected: Results of a detector for the same images.
    """
    total = missing = 0
    for one, other in ((found, expected), (expected, found)):
        for i in range(len(expected["valid"])):
            mine, others = _valid(one, i), _valid(other, i)
            total += len(mine["scores"])
            missing += int((~_has_equal(mine, others)).sum())
    return missing / max(total, 1)


def _valid(results: Mapping[str, Any], image: int) -> dict[str, np.ndarray]:
    keep = np.asarray(results["valid"])[image]
    return {name: np.asarray(results[name])[image][keep] for name in ("boxes", "scores", "labels")}


def _has_equal(mine: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether each of my detections is one of the others, [D] bool."""
    boxes = np.abs(mine["boxes"][:, None] - others["boxes"]).max(-1, initial=0)
    scores = np.abs(mine["scores"][:, None] - others["scores"])
    same = mine["labels"][:, None] == others["labels"]
    equal = same & (scores <= SCORE_TOLERANCE) & (boxes <= PIXELS_TOLERANCE)
    found: np.ndarray = equal.any(1)
    return found
