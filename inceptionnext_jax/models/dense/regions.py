"""Regions of interest in training: drawn from proposals, and refined from stage to stage."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.ops import boxes as box_ops
from inceptionnext_jax.ops.assign import CASCADE, IGNORED, MASK_RCNN, Rule, assign, sample

Stds = tuple[float, float, float, float]


class Stage(NamedTuple):
    """A box head and a mask head with what they learn from.

    Attributes:
      rule: Which regions are positive.
      stds: Divisors of the deltas of boxes.
      weight: Factor of the stage's losses.
    """

    rule: Rule
    stds: Stds
    weight: float = 1.0


MASK_RCNN_STAGES = (Stage(MASK_RCNN, (0.1, 0.1, 0.2, 0.2)),)
CASCADE_STAGES = (
    Stage(CASCADE[0], (0.1, 0.1, 0.2, 0.2)),
    Stage(CASCADE[1], (0.05, 0.05, 0.1, 0.1), 0.5),
    Stage(CASCADE[2], (0.033, 0.033, 0.067, 0.067), 0.25),
)


class Regions(NamedTuple):
    """Regions of images: positives first, then negatives, then padding; R of each image.

    Attributes:
      boxes: [B, R, 4] in pixels.
      valid: [B, R] bool, false for padding.
      positive: [B, R] bool.
      objects: [B, R] int32, the slot of a positive's object.
      is_object: [B, R] bool, whether a region is an object's own box.
    """

    boxes: jax.Array
    valid: jax.Array
    positive: jax.Array
    objects: jax.Array
    is_object: jax.Array


def draw_regions(
    keys: jax.Array,
    proposals: jax.Array,
    valid: jax.Array,
    targets: Targets,
    rule: Rule,
    size: int,
    fraction: float,
) -> Regions:
    """Assigns proposals to objects and draws regions among them and the objects' own boxes.

    Args:
      keys: [B], a key for each image.
      proposals: [B, P, 4].
      valid: [B, P] bool, which of them are proposals.
      targets: The objects.
      rule: Thresholds.
      size: R.
      fraction: Largest share of positives.
    """

    def of_image(key, proposals, valid, objects, valid_objects):  # type: ignore[no-untyped-def]
        assigned = assign(proposals, objects, valid_objects, rule, valid)
        # Objects stand in front of the proposals. They are assigned to themselves: if they took
        # part above, no proposal would be the best one of an object.
        own = jnp.where(valid_objects, 1 + jnp.arange(len(objects)), IGNORED)
        objects_of = jnp.concatenate([own, assigned.objects])
        candidates = jnp.concatenate([objects, proposals])
        drawn = sample(key, objects_of, size, fraction)
        return Regions(
            boxes=candidates[drawn.indices],
            valid=drawn.valid,
            positive=drawn.positive,
            objects=jnp.maximum(objects_of[drawn.indices] - 1, 0),
            is_object=drawn.valid & (drawn.indices < len(objects)),
        )

    found = jax.vmap(of_image)(keys, proposals, valid, targets.boxes, targets.valid)
    return lax.stop_gradient(found)


def moved(
    boxes: jax.Array, deltas: jax.Array, labels: jax.Array, stds: Stds, sizes: jax.Array
) -> jax.Array:
    """Returns regions moved by the deltas of one class each, and clipped to their images.

    Args:
      boxes: [B, R, 4].
      deltas: [B, R, K, 4].
      labels: [B, R] int32.
      stds: Divisors of the deltas.
      sizes: [B, 2], height and width of each image.
    """
    chosen = jnp.take_along_axis(deltas, labels[..., None, None], axis=2)[:, :, 0]
    return lax.stop_gradient(box_ops.clip(box_ops.decode(boxes, chosen, stds), sizes))


def of_objects(values: jax.Array, objects: jax.Array) -> jax.Array:
    """Returns the values [B, G, …] of each region's object, [B, R, …]."""
    return jax.vmap(lambda values, objects: values[objects])(values, objects)
