"""All augmentation that runs on the device, in both published orders.

InceptionNeXt (timm's loader mixes while it collates) and ConvNeXt/VanillaNet (mixing is part of
the training loop) use the same parts in a different order, with different results: erasing before
mixing mixes the noise too, and mixing before normalising rounds to uint8.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.augment.color_jitter import color_jitter
from inceptionnext_jax.augment.erasing import random_erasing
from inceptionnext_jax.augment.mixing import (
    MixDraws,
    draw_mixing,
    mix_images,
    mix_targets,
    smoothed_targets,
)
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.augment.rand_augment import (
    RandAugmentPolicy,
    fill_color,
    parse_rand_augment,
    rand_augment,
)
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.types import Batch

Augment = Callable[[jax.Array, Batch, jax.Array], Batch]


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Settings of the augmentation on the device; defaults are InceptionNeXt-T's recipe.

    Attributes:
      rand_augment: timm's notation, such as "rand-m9-mstd0.5-inc1"; "" switches it off.
      mixup: alpha of mixup's Beta distribution; 0: no mixup.
      cutmix: alpha of CutMix's Beta distribution; 0: no CutMix.
      mix_prob: probability that a group is mixed at all.
      mix_switch_prob: probability of CutMix where both are on.
      random_erasing: probability of erasing.
      erasing_count: maximum number of rectangles per image.
      color_jitter: strength of brightness, contrast and saturation jitter, 0: off. Used only
        where `rand_augment` is empty, as in timm.
      interpolation: filter of RandAugment's geometric operations: "random" (one of the two for
        each image), "bilinear" or "bicubic".
      order: "inceptionnext": mix, normalise, erase. "convnext": normalise, erase, mix.
    """

    rand_augment: str = "rand-m9-mstd0.5-inc1"
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_prob: float = 1.0
    mix_switch_prob: float = 0.5
    random_erasing: float = 0.25
    erasing_count: int = 1
    color_jitter: float = 0.0
    interpolation: str = "random"
    order: str = "inceptionnext"

    @property
    def mixes(self) -> bool:
        """Whether images are mixed at all."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_prob > 0


def make_augment(
    settings: AugmentSettings,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    label_smoothing: float = 0.0,
    dtype: DTypeLike = jnp.float32,
    *,
    mix_group: int,
) -> Augment:
    """Builds the function that augments a batch, or a slice of it, inside the training step.

    Args:
      settings: see AugmentSettings.
      num_classes: K, the length of a target.
      mean, std: statistics of the training images per channel, in [0, 1].
      label_smoothing: s; targets are s/K off the label and 1 - s + s/K on it.
      dtype: dtype of the resulting images. Arithmetic is float32, or float64 where this is.
      mix_group: consecutive images of the global batch that share one draw and are mixed among
        themselves.

    Returns:
      fn(key, batch, positions) -> batch, pure and for use under jit:
        key: the step's key for augmentation.
        batch: "image" [N, H, W, 3] uint8, "label" [N] int32. Other entries pass through.
        positions: [N] int32, position of each image in the global batch. The batch is a whole
          number of consecutive groups; all draws are functions of key and position.
        Result: "image" [N, H, W, 3] `dtype`, normalised; "target" [N, K] float32 (float64 where
          `dtype` is); "label" unchanged.

    Raises:
      UserError: invalid RandAugment string or odd group; when traced, a slice that cuts a group.
        Ranges are checked with the config.
    """
    policy = parse_rand_augment(settings.rand_augment)
    if settings.mixes and (mix_group < 2 or mix_group % 2):
        raise UserError(f"mixup and CutMix pair images: a group of {mix_group} images must be even")
    precise = jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32
    mixes = settings.mixes
    mixes_uint8 = settings.order == "inceptionnext"

    def augment(key: jax.Array, batch: Batch, positions: jax.Array) -> Batch:
        image, label = batch["image"], batch["label"]
        if mixes:
            _check_whole_groups(len(label), mix_group)
        image = _augment_pixels(key, image, positions, settings, policy, fill_color(mean))
        if mixes:
            draws = _mixing(key, image, positions, settings, mix_group)
            target = mix_targets(label, draws.lam, num_classes, label_smoothing, precise)
        else:
            target = smoothed_targets(label, num_classes, label_smoothing, precise)
        if mixes and mixes_uint8:
            image = mix_images(image, draws, round_to_uint8=True)
        image = normalize(image, mean, std, precise)
        if settings.random_erasing > 0:
            image = random_erasing(
                key, image, positions, settings.random_erasing, settings.erasing_count
            )
        if mixes and not mixes_uint8:
            image = mix_images(image, draws, round_to_uint8=False)
        return {**batch, "image": image.astype(dtype), "target": target}

    return augment


def _check_whole_groups(num_images: int, group: int) -> None:
    if num_images % group:
        raise UserError(
            f"{num_images} images are not a whole number of mixing groups of {group}: choose "
            "optim.accumulate and augment.mix_group_size so that no group is cut"
        )


def _augment_pixels(
    key: jax.Array,
    image: jax.Array,
    positions: jax.Array,
    settings: AugmentSettings,
    policy: RandAugmentPolicy | None,
    fill: Sequence[int],
) -> jax.Array:
    """Applies RandAugment, or else colour jitter: uint8 to uint8."""
    if policy is not None:
        return rand_augment(key, image, positions, policy, fill, settings.interpolation)
    if settings.color_jitter > 0:
        return color_jitter(key, image, positions, settings.color_jitter)
    return image


def _mixing(
    key: jax.Array,
    image: jax.Array,
    positions: jax.Array,
    settings: AugmentSettings,
    group: int,
) -> MixDraws:
    """Draws for the groups of this slice: MixDraws of [N / group]."""
    return draw_mixing(
        key,
        positions.reshape(-1, group)[:, 0] // group,
        (image.shape[1], image.shape[2]),
        settings.mixup,
        settings.cutmix,
        settings.mix_prob,
        settings.mix_switch_prob,
    )
