"""Rotate, shear and translate as one affine resampling, in Pillow's convention.

`Image.transform(size, AFFINE, (a, b, c, d, e, f))` takes the inverse map: the output pixel whose
centre is (x + ½, y + ½) shows the source at (a(x+½) + b(y+½) + c, d(x+½) + e(y+½) + f). It paints
the fill colour where that point lies outside the source, and repeats the edge for filter taps
outside. Its cubic is Keys' with a = -1 (`Image.resize` has -½), and results are truncated.

Cost: the filter reads 16 neighbours per pixel. The three channels travel in one 32-bit word, so
that is 16 gathers rather than 48, all fused into the weighted sum: a GPU reads each image once
into cache and writes it once. Every image is resampled, those without a geometric operation with
the identity, which reproduces them bit for bit. Skipping them (five in six) would need a branch
per image, that is a sequential loop, or sorting images across devices: both cost an accelerator
more than the arithmetic. TPUs have no fast gather, so this pass dominates augmentation there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from inceptionnext_jax.augment.keys import snapped

# Added before truncation: filter weights sum to 1 only within float32 rounding, so without it a
# flat area of value v could become v - 1.
_TRUNCATION_SLACK = 2.0**-10


def rotation(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """`Image.rotate`: anticlockwise about the centre, same size. degrees: [N] -> [N, 6] float32."""
    angle = jnp.deg2rad(degrees.astype(jnp.float32))
    cos, sin = snapped(jnp.cos(angle), 20), snapped(jnp.sin(angle), 20)  # 1e-4 pixel at 224
    cx, cy = width / 2, height / 2
    return jnp.stack(
        [cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy], axis=-1
    )


def identity(like: jax.Array) -> jax.Array:
    """The identity map for each entry of `like` [N]: [N, 6] float32."""
    return _identity_with(0, jnp.ones_like(like))


def _identity_with(entry: int, value: jax.Array) -> jax.Array:
    one, zero = jnp.ones_like(value), jnp.zeros_like(value)
    entries = [one, zero, zero, zero, one, zero]
    entries[entry] = value
    return jnp.stack(entries, axis=-1)


def shear_x(factor: jax.Array) -> jax.Array:
    """Source x = x + factor * y. factor: [N] -> [N, 6] float32."""
    return _identity_with(1, factor)


def shear_y(factor: jax.Array) -> jax.Array:
    """Source y = y + factor * x. factor: [N] -> [N, 6] float32."""
    return _identity_with(3, factor)


def translate_x(pixels: jax.Array) -> jax.Array:
    """Source x = x + pixels. pixels: [N] -> [N, 6] float32."""
    return _identity_with(2, pixels)


def translate_y(pixels: jax.Array) -> jax.Array:
    """Source y = y + pixels. pixels: [N] -> [N, 6] float32."""
    return _identity_with(5, pixels)


def resample(
    image: jax.Array,
    matrix: jax.Array,
    cubic: jax.Array,
    fill: Sequence[int],
    any_cubic: bool = True,
) -> jax.Array:
    """Resamples each image by its own inverse affine map.

    Args:
      image: [N, H, W, 3] uint8.
      matrix: [N, 6] float32, Pillow's (a, b, c, d, e, f); the identity leaves the image as it is.
      cubic: [N] bool: cubic filter, else linear.
      fill: colour of the points outside, three values in 0..255.
      any_cubic: False promises that `cubic` is all False; four taps are then read instead of 16.

    Returns:
      [N, H, W, 3] uint8.
    """
    n, height, width, _ = image.shape
    words, stride = _packed(image)
    source_x, source_y = _source_points(matrix, height, width)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    column, weights_x = _taps(source_x, width, cubic, any_cubic)
    row, weights_y = _taps(source_y, height, cubic, any_cubic)
    corner = (row * stride + column).reshape(n, -1)

    total = [jnp.zeros((n, height, width), jnp.float32) for _ in range(3)]
    for j, weight_y in enumerate(weights_y):
        line = [jnp.zeros((n, height, width), jnp.float32) for _ in range(3)]
        for i, weight_x in enumerate(weights_x):
            index = corner + (j * stride + i)
            word = jnp.take_along_axis(words, index, axis=1, mode="promise_in_bounds")
            word = word.reshape(n, height, width)
            for channel in range(3):
                value = ((word >> (8 * channel)) & 255).astype(jnp.float32)
                line[channel] += weight_x * value
        for channel in range(3):
            total[channel] += weight_y * line[channel]

    result = jnp.clip(jnp.stack(total, axis=-1) + _TRUNCATION_SLACK, 0, 255).astype(jnp.uint8)
    return jnp.where(inside[..., None], result, jnp.asarray(fill, jnp.uint8))


_MARGIN = 2  # taps reach at most two pixels over the edge


def _packed(image: jax.Array) -> tuple[jax.Array, int]:
    """Edge-padded pixels as words r + 256 g + 65536 b: [N, (H+4)(W+4)] int32, and the row length.

    Padding makes every tap's address the first tap's plus a constant, with no clamping per tap.
    """
    wide = image.astype(jnp.int32)
    words = wide[..., 0] | (wide[..., 1] << 8) | (wide[..., 2] << 16)
    words = jnp.pad(words, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)), mode="edge")
    return words.reshape(words.shape[0], -1), words.shape[2]


def _source_points(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Source (x, y) of every output pixel's centre, each [N, H, W] float32."""
    x = jnp.arange(width, dtype=jnp.float32)[None, None, :] + 0.5
    y = jnp.arange(height, dtype=jnp.float32)[None, :, None] + 0.5
    a, b, c, d, e, f = (matrix[:, k, None, None] for k in range(6))
    return a * x + b * y + c, d * x + e * y + f


def _taps(
    source: jax.Array, size: int, cubic: jax.Array, any_cubic: bool
) -> tuple[jax.Array, list[jax.Array]]:
    """The first tap's index along the padded axis ([N, H, W] int32), and the weights of all taps.

    Points outside are clamped to a valid address; the fill colour replaces the result there.
    """
    source = source - 0.5
    left = jnp.floor(source)
    t = source - left
    left = jnp.clip(left.astype(jnp.int32), -1, size - 1) + _MARGIN
    if not any_cubic:
        return left, [1 - t, t]
    # Keys' cubic with a = -1, in the order of the taps at -1, 0, 1, 2.
    cubic_weights = [
        -t * (1 - t) * (1 - t),
        1 + t * t * (t - 2),
        t * (1 + t * (1 - t)),
        -t * t * (1 - t),
    ]
    linear_weights = [jnp.zeros_like(t), 1 - t, t, jnp.zeros_like(t)]
    use = cubic[:, None, None]
    weights = [jnp.where(use, c, w) for c, w in zip(cubic_weights, linear_weights, strict=True)]
    return left - 1, weights
