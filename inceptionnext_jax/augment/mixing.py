"""mixup and CutMix within groups of images, and their soft targets.

timm's batch mode: one draw per group, whose image i is mixed with its image -1 - i. The authors'
runs drew once per micro-batch of 128 on each GPU; a group corresponds to such a micro-batch.

Sources: Zhang et al., "mixup" (2018); Yun et al., "CutMix" (2019); timm 0.6 (CutMix boxes are of
even size; timm 1.0 lets them be odd).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.augment.keys import MIXING, integers_below, keys_at, snapped


class MixDraws(NamedTuple):
    """Mixing parameters of each group; every field is [G].

    Attributes:
      lam: float32, the weight of an image's own label (for CutMix corrected to the box's area).
      cutmix: bool; otherwise mixup.
      top, bottom, left, right: int32, CutMix's box; bottom and right are exclusive.
    """

    lam: jax.Array
    cutmix: jax.Array
    top: jax.Array
    bottom: jax.Array
    left: jax.Array
    right: jax.Array


def draw_mixing(
    key: jax.Array,
    groups: jax.Array,
    size: tuple[int, int],
    mixup_alpha: float,
    cutmix_alpha: float,
    prob: float = 1.0,
    switch_prob: float = 0.5,
) -> MixDraws:
    """Draws the mixing parameters of each group.

    Args:
      key: the step's key.
      groups: [G] int32, indices of the groups in the global batch.
      size: height and width of the images.
      mixup_alpha: lam ~ Beta(alpha, alpha) for mixup; 0: only CutMix.
      cutmix_alpha: the same for CutMix; 0: only mixup.
      prob: probability that a group is mixed at all.
      switch_prob: probability of CutMix where both are on.
    """

    def draw(group_key: jax.Array) -> MixDraws:
        beta_key, other_key = jax.random.split(group_key)
        for_gate, for_switch, *for_centre = jax.random.uniform(other_key, (4,), jnp.float32)
        mixed = for_gate < prob
        if mixup_alpha > 0 and cutmix_alpha > 0:
            cutmix = for_switch < switch_prob
        else:
            cutmix = jnp.asarray(cutmix_alpha > 0)
        alpha = jnp.where(cutmix, jnp.float32(cutmix_alpha), jnp.float32(mixup_alpha))
        lam = jax.random.beta(beta_key, alpha, alpha, (), jnp.float32)
        # Multiples of 2^-16 mix uint8 values without rounding, so results do not depend on how a
        # program evaluates the logarithms behind lam or fuses multiplication with addition.
        lam = snapped(lam, 16)
        box = box_at(for_centre, lam, size)
        cutmix &= mixed
        lam = jnp.where(cutmix, box_lam(box, size), jnp.where(mixed, lam, 1))
        return MixDraws(lam, cutmix, *box)

    return jax.vmap(draw)(keys_at(key, MIXING, groups))


Box = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # top, bottom, left, right


def box_at(for_centre: Sequence[jax.Array], lam: jax.Array, size: tuple[int, int]) -> Box:
    """CutMix's box for one group: sqrt(1 - lam) of each side, centred on a pixel, clipped.

    Args:
      for_centre: uniform in [0, 1), one for the row and one for the column of the centre.
      lam: [] float32, before the correction.
      size: height and width.
    """
    edges: list[jax.Array] = []
    for uniform, length in zip(for_centre, size, strict=True):
        half = (length * jnp.sqrt(1 - lam)).astype(jnp.int32) // 2
        centre = integers_below(uniform, length)
        edges += [jnp.maximum(centre - half, 0), jnp.minimum(centre + half, length)]
    top, bottom, left, right = edges
    return top, bottom, left, right


def box_lam(box: Box, size: tuple[int, int]) -> jax.Array:
    """The share of the image outside the box, float32: CutMix's lam after clipping."""
    top, bottom, left, right = box
    area = (bottom - top) * (right - left)
    return 1 - area.astype(jnp.float32) / (size[0] * size[1])


def mix_images(image: jax.Array, draws: MixDraws, round_to_uint8: bool) -> jax.Array:
    """Mixes each image with its partner in the group.

    Args:
      image: [N, H, W, C]; N is G groups of equal size. uint8, or float32 or float64.
      draws: fields [G].
      round_to_uint8: round the result to whole numbers, half to even, and return uint8, as timm
        does when it mixes before normalising.

    Returns:
      [N, H, W, C], uint8 or the input's float dtype.
    """
    num_groups = draws.lam.shape[0]
    height, width = image.shape[1:3]
    dtype = jnp.float32 if image.dtype == jnp.uint8 else image.dtype
    groups = image.reshape(num_groups, -1, *image.shape[1:]).astype(dtype)
    partners = jnp.flip(groups, axis=1)

    top, bottom, left, right = (field[:, None, None] for field in draws[2:])
    y = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    x = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    outside = ~((y >= top) & (y < bottom) & (x >= left) & (x < right))
    # One weight per pixel serves both: CutMix's is 0 or 1, which makes the sum exact.
    lam = draws.lam[:, None, None].astype(dtype)
    weight = jnp.where(draws.cutmix[:, None, None], outside.astype(dtype), lam)
    weight = weight[:, None, :, :, None]
    mixed = (weight * groups + (1 - weight) * partners).reshape(image.shape)
    return jnp.round(mixed).astype(jnp.uint8) if round_to_uint8 else mixed


def mix_targets(
    label: jax.Array,
    lam: jax.Array,
    num_classes: int,
    label_smoothing: float,
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Targets lam * own + (1 - lam) * partner's, both smoothed: [N, num_classes].

    Args:
      label: [N] int32 or [N, K] multi-hot; N is G groups of equal size.
      lam: [G] float32.
      num_classes: K.
      label_smoothing: s; see `smoothed_targets`.
      dtype: float32 or float64.
    """
    own = smoothed_targets(label, num_classes, label_smoothing, dtype)
    groups = own.reshape(lam.shape[0], -1, num_classes)
    weight = lam[:, None, None].astype(dtype)
    return (weight * groups + (1 - weight) * jnp.flip(groups, axis=1)).reshape(own.shape)


def smoothed_targets(
    label: jax.Array, num_classes: int, label_smoothing: float, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """One-hot targets [N, K] with s/K off the label and 1 - s + s/K on it.

    A multi-hot label [N, K] is not smoothed: smoothing spreads one label's weight over the
    classes, and these carry no such weight.
    """
    if label.ndim == 2:
        return label.astype(dtype)
    off = label_smoothing / num_classes
    on = 1.0 - label_smoothing + off
    hot = label[:, None] == jnp.arange(num_classes, dtype=label.dtype)
    return jnp.where(hot, jnp.asarray(on, dtype), jnp.asarray(off, dtype))
