"""RandAugment as timm configures it with strings such as "rand-m9-mstd0.5-inc1".

Each of `num_layers` layers draws, for every image, one of 15 operations with equal probability and
applies it with probability `prob` at a random level in 0..10. Whatever the images drew, a layer is
three passes over the batch: one table look-up, one blend, one affine resampling. An image takes
the identity in the passes it does not need, so nothing is evaluated once per operation.

Source: Cubuk et al., "RandAugment" (2020); the ranges and the "increasing" variants are timm's
(0.6 to 1.0), the papers' training library.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from inceptionnext_jax.augment import affine, pixel_ops
from inceptionnext_jax.augment.keys import RAND_AUGMENT, integers_below, keys_at, snapped
from inceptionnext_jax.errors import UserError

# In timm's order.
OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
NO_OPERATION = len(OPERATIONS)
_INDEX = {name: index for index, name in enumerate(OPERATIONS)}
MAX_LEVEL = 10.0


@dataclasses.dataclass(frozen=True)
class RandAugmentPolicy:
    """A parsed RandAugment string.

    Attributes:
      magnitude: the level M.
      magnitude_std: levels are Gauss(M, std); infinity: uniform in [0, M].
      magnitude_max: levels are clipped to [0, magnitude_max].
      num_layers: operations drawn for each image.
      prob: probability that a drawn operation is applied.
      increasing: Posterize, Solarize and the four blends grow stronger with the level; otherwise
        Posterize and Solarize grow weaker, and the blends' factors run from 0.1 up to 1.9.
    """

    magnitude: float = MAX_LEVEL
    magnitude_std: float = 0.0
    magnitude_max: float = MAX_LEVEL
    num_layers: int = 2
    prob: float = 0.5
    increasing: bool = False


# Section key of the string -> (attribute, pattern of its value, description for error messages).
_SECTIONS = {
    "m": ("magnitude", r"\d+", "an integer level"),
    "mstd": ("magnitude_std", r"\d+(\.\d+)?", "a number; above 100: uniform levels"),
    "mmax": ("magnitude_max", r"\d+", "an integer level"),
    "n": ("num_layers", r"\d+", "the number of layers"),
    "p": ("prob", r"0(\.\d+)?|1(\.0+)?", "a probability"),
    "inc": ("increasing", r"[01]", "0 or 1"),
}


def parse_rand_augment(text: str) -> RandAugmentPolicy | None:
    """Parses timm's notation; an empty string gives None, RandAugment off.

    Follows timm 1.0 ("inc0" is off; 0.6 took any value as on), except that a section that timm
    would ignore silently is an error here.

    Raises:
      UserError: unknown, malformed or repeated section; the message lists what is accepted.
    """
    if not text:
        return None
    accepted = ", ".join(f"{key} ({meaning})" for key, (_, _, meaning) in _SECTIONS.items())
    head, *sections = text.split("-")
    if head != "rand":
        raise UserError(
            f"augment.rand_augment: {text!r} must begin with 'rand-', for example "
            "'rand-m9-mstd0.5-inc1', or be empty to switch it off"
        )
    values: dict[str, float] = {}
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d.*)", section)
        attribute, pattern, _ = _SECTIONS.get(match[1] if match else "", ("", "", ""))
        if match is None or not attribute or not re.fullmatch(pattern, match[2]):
            raise UserError(
                f"augment.rand_augment: section {section!r} of {text!r} is not understood; "
                f"accepted are {accepted}"
            )
        if attribute in values:
            raise UserError(
                f"augment.rand_augment: section {match[1]!r} occurs twice in {text!r}; keep one"
            )
        values[attribute] = float(match[2])
    std = values.get("magnitude_std", 0.0)
    return RandAugmentPolicy(
        magnitude=values.get("magnitude", MAX_LEVEL),
        magnitude_std=float("inf") if std > 100 else std,
        magnitude_max=values.get("magnitude_max", 0.0) or MAX_LEVEL,
        num_layers=int(values.get("num_layers", 2)),
        prob=values.get("prob", 0.5),
        increasing=bool(values.get("increasing", 0)),
    )


def fill_color(mean: Sequence[float]) -> tuple[int, ...]:
    """Colour outside the source: round(255 mean), (124, 116, 104) for ImageNet's mean."""
    return tuple(min(255, round(255 * value)) for value in mean)


class Draws(NamedTuple):
    """Draws of one layer for all images, [N], or of all layers for one image, [num_layers].

    Attributes:
      operation: int32 index into OPERATIONS, or NO_OPERATION.
      level: float32 in [0, magnitude_max].
      sign: float32, -1 or 1: the direction of Rotate, shears, translations and increasing blends.
      cubic: bool, cubic rather than linear resampling.
    """

    operation: jax.Array
    level: jax.Array
    sign: jax.Array
    cubic: jax.Array


def rand_augment(
    key: jax.Array,
    image: jax.Array,
    positions: jax.Array,
    policy: RandAugmentPolicy,
    fill: Sequence[int],
    interpolation: str = "random",
) -> jax.Array:
    """Augments each image with its own random draws.

    Args:
      key: the step's key.
      image: [N, H, W, 3] uint8.
      positions: [N] int32, position of each image in the global batch.
      policy: see RandAugmentPolicy.
      fill: colour outside the source in geometric operations, values in 0..255.
      interpolation: filter of the geometric operations: "bilinear", "bicubic", or "random": one of
        the two with equal probability.

    Returns:
      [N, H, W, 3] uint8.
    """
    keys = keys_at(key, RAND_AUGMENT, positions)
    draws = jax.vmap(lambda k: draw_layers(k, policy, interpolation), out_axes=1)(keys)
    for layer in range(policy.num_layers):
        one = Draws(*(field[layer] for field in draws))
        image = apply_layer(image, one, policy.increasing, fill, interpolation != "bilinear")
    return image


def draw_layers(key: jax.Array, policy: RandAugmentPolicy, interpolation: str = "random") -> Draws:
    """Draws all layers for one image: Draws of [num_layers]."""
    uniform = jax.random.uniform(key, (5, policy.num_layers), jnp.float32)
    for_operation, for_gate, for_level, for_sign, for_filter = uniform
    operation = integers_below(for_operation, len(OPERATIONS))
    applied = for_gate < policy.prob
    if policy.magnitude_std == float("inf"):
        level = policy.magnitude * for_level
    elif policy.magnitude_std > 0:
        gauss = jnp.sqrt(jnp.float32(2)) * jax.lax.erf_inv(2 * for_level - 1)
        level = snapped(policy.magnitude + policy.magnitude_std * gauss, 12)
    else:
        level = jnp.full_like(for_level, policy.magnitude)
    if interpolation == "random":
        cubic = for_filter < 0.5
    else:
        cubic = jnp.full(for_filter.shape, interpolation == "bicubic")
    return Draws(
        jnp.where(applied, operation, NO_OPERATION),
        jnp.clip(level, 0, policy.magnitude_max),
        jnp.where(for_sign < 0.5, jnp.float32(-1), jnp.float32(1)),
        cubic,
    )


def apply_layer(
    image: jax.Array,
    draws: Draws,
    increasing: bool,
    fill: Sequence[int],
    any_cubic: bool = True,
) -> jax.Array:
    """Applies the operation drawn for each image.

    Args:
      image: [N, H, W, 3] uint8.
      draws: fields [N].
      increasing: see RandAugmentPolicy.
      fill: colour outside the source, values in 0..255.
      any_cubic: False promises that no image has cubic resampling.

    Returns:
      [N, H, W, 3] uint8; bit for bit the input where the operation is NO_OPERATION.
    """
    # At most one of the passes changes an image, so all may read the layer's input.
    toned = pixel_ops.look_up(image, tables(image, draws, increasing))
    degenerate, factor = _blend_arguments(image, draws, increasing)
    blended = pixel_ops.blend(degenerate, toned, factor)
    matrix = affine_matrices(draws, image.shape[1], image.shape[2])
    return affine.resample(blended, matrix, draws.cubic, fill, any_cubic)


def tables(image: jax.Array, draws: Draws, increasing: bool) -> jax.Array:
    """Look-up tables [N, 3, 256] int32 of the images' operations; the identity for all others."""
    level, operation = draws.level, draws.operation
    # The constants' float32 values are not below the decimals, so whole levels truncate as in
    # timm's double precision.
    bits = (0.4 * level).astype(jnp.int32)
    threshold = jnp.minimum((25.6 * level).astype(jnp.int32), 256)
    if increasing:
        bits, threshold = 4 - bits, 256 - threshold
    addend = jnp.minimum((11.0 * level).astype(jnp.int32), 128)
    counts = pixel_ops.histogram(image, operation == _INDEX["Equalize"])
    candidates = {
        "AutoContrast": pixel_ops.autocontrast_table(image),
        "Equalize": pixel_ops.equalize_table(counts),
        "Invert": pixel_ops.invert_table(),
        "Posterize": pixel_ops.posterize_table(bits),
        "Solarize": pixel_ops.solarize_table(threshold),
        "SolarizeAdd": pixel_ops.solarize_add_table(addend),
    }
    table = jnp.broadcast_to(pixel_ops.identity_table(), (image.shape[0], 3, 256))
    for name, candidate in candidates.items():
        chosen = (operation == _INDEX[name])[:, None, None]
        table = jnp.where(chosen, candidate, table)
    return table


def _blend_arguments(
    image: jax.Array, draws: Draws, increasing: bool
) -> tuple[jax.Array, jax.Array]:
    """Degenerate images to blend with ([N, H, W, 3] int32), factors ([N], 1 for no change)."""
    grey = pixel_ops.grey_level(image)
    mean = pixel_ops.mean_grey_level(grey)[:, None, None, None]
    candidates = {
        "Color": grey[..., None],
        "Contrast": mean,
        "Brightness": jnp.int32(0),
        "Sharpness": pixel_ops.smooth(image),
    }
    degenerate = jnp.zeros(image.shape, jnp.int32)
    blends = jnp.zeros(draws.operation.shape, bool)
    for name, candidate in candidates.items():
        chosen = draws.operation == _INDEX[name]
        blends |= chosen
        degenerate = jnp.where(chosen[:, None, None, None], candidate, degenerate)
    if increasing:
        factor = jnp.maximum(0.1, 1 + draws.sign * (0.09 * draws.level))
    else:
        factor = 0.1 + 0.18 * draws.level
    return degenerate, jnp.where(blends, factor, 1)


def affine_matrices(draws: Draws, height: int, width: int) -> jax.Array:
    """Inverse maps [N, 6] float32 of the images' operations; the identity if not geometric."""
    level = draws.sign * draws.level
    candidates = {
        "Rotate": affine.rotation(3 * level, height, width),
        "ShearX": affine.shear_x(0.03 * level),
        "ShearY": affine.shear_y(0.03 * level),
        "TranslateXRel": affine.translate_x(0.045 * level * width),
        "TranslateYRel": affine.translate_y(0.045 * level * height),
    }
    numbers = jnp.asarray([_INDEX[name] for name in candidates], jnp.int32)
    chosen = draws.operation[:, None] == numbers
    chosen = jnp.concatenate([~jnp.any(chosen, axis=1, keepdims=True), chosen], axis=1)
    matrices = jnp.stack([affine.identity(level), *candidates.values()], axis=1)
    # A sum with one term, not a chain of selects: XLA computes a reduction once per image, but
    # repeats selects (and the sine) for every pixel that uses their result.
    return jnp.sum(jnp.where(chosen[..., None], matrices, 0), axis=1)
