"""Pixel operations as Pillow computes them: table look-ups and blends, for a batch at once.

Pillow's `ImageOps.{autocontrast,equalize,invert,posterize,solarize}` are functions of one channel
value: they become 256-entry tables. Its `ImageEnhance.*` are blends with a degenerate image.

Images are [N, H, W, 3] uint8 throughout, and every function takes one argument per image, so a
batch with a different operation for each image is still one pass over the pixels.
"""

import jax
import jax.numpy as jnp


def _quotient(numerator: jax.Array, denominator: jax.Array | int) -> jax.Array:
    """Integer quotient of non-negative numbers, without the sign handling of `//`."""
    return jax.lax.div(*jnp.broadcast_arrays(numerator, jnp.asarray(denominator, numerator.dtype)))


def grey_level(image: jax.Array) -> jax.Array:
    """Luma [N, H, W] int32 in 0..255: Pillow's 16-bit fixed-point `convert("L")`."""
    wide = image.astype(jnp.int32)
    red, green, blue = wide[..., 0], wide[..., 1], wide[..., 2]
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def mean_grey_level(grey: jax.Array) -> jax.Array:
    """int(mean + 0.5) of luma [N, H, W] int32 for each image: [N] int32 (up to 4 Mpixel)."""
    count = grey.shape[1] * grey.shape[2]
    total = jnp.sum(grey, axis=(1, 2), dtype=jnp.int32)
    return _quotient(2 * total + count, 2 * count)


def smooth(image: jax.Array) -> jax.Array:
    """Pillow's `ImageFilter.SMOOTH`: ones around a 5, over 13, rounded; borders are copied.

    The sum is an integer and 13 is odd, so there are no ties and integer division is exact.
    Returns [N, H, W, 3] int32 in 0..255.
    """
    height, width = image.shape[1:3]
    wide = image.astype(jnp.int32)
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = 4 * wide
    # Nine slices of the bytes fuse into one pass; summing rows, then columns would store
    # four-byte integers in between.
    for i in range(3):
        for j in range(3):
            total += padded[:, i : i + height, j : j + width].astype(jnp.int32)
    smoothed = _quotient(2 * total + 13, 26)
    y = jnp.arange(height, dtype=jnp.int32)[:, None]
    x = jnp.arange(width, dtype=jnp.int32)[None, :]
    inner = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    return jnp.where(inner[None, :, :, None], smoothed, wide)


def blend(degenerate: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """`Image.blend`: degenerate + factor * (image - degenerate), clipped, then truncated.

    Args:
      degenerate: int32 in 0..255, broadcastable to [N, H, W, 3].
      image: [N, H, W, 3] uint8.
      factor: [N] float32; exactly 1 leaves the image unchanged, bit for bit.

    Returns:
      [N, H, W, 3] uint8.
    """
    start = degenerate.astype(jnp.float32)
    value = start + factor[:, None, None, None] * (image.astype(jnp.float32) - start)
    return jnp.clip(value, 0, 255).astype(jnp.uint8)


def look_up(image: jax.Array, table: jax.Array) -> jax.Array:
    """Replaces every value v of channel c of image n by table[n, c, v].

    One gather from a table of 768 bytes per image: it stays in the nearest cache, which costs less
    than evaluating six formulas and selecting.

    Args:
      image: [N, H, W, 3] uint8.
      table: [N, 3, 256] int32 in 0..255.
    """
    n = image.shape[0]
    channel = 256 * jnp.arange(3, dtype=jnp.int32)
    index = image.astype(jnp.int32) + channel
    flat = table.astype(jnp.uint8).reshape(n, 3 * 256)
    taken = jnp.take_along_axis(flat, index.reshape(n, -1), axis=1, mode="promise_in_bounds")
    return taken.reshape(image.shape)


def histogram(image: jax.Array, wanted: jax.Array) -> jax.Array:
    """Counts [N, 3, 256] int32 of values per channel; zeros for images that are not wanted.

    Only Equalize needs counts (one image in thirty per layer), so pixels of all other images point
    past the table and are dropped: on a GPU they cost a read but no atomic addition.
    """
    n = image.shape[0]
    planes = jnp.moveaxis(image.reshape(n, -1, 3), -1, 1).astype(jnp.int32)
    index = jnp.where(wanted[:, None, None], planes, 256)

    def count(values: jax.Array) -> jax.Array:
        return jnp.zeros(256, jnp.int32).at[values].add(1, mode="drop")

    return jax.vmap(jax.vmap(count))(index)


def identity_table() -> jax.Array:
    """[1, 1, 256] int32: every value maps to itself."""
    return jnp.arange(256, dtype=jnp.int32)[None, None]


def autocontrast_table(image: jax.Array) -> jax.Array:
    """[N, 3, 256]: stretches each channel's range to 0..255; constant channels stay.

    Pillow's double-precision product may fall a hair short of an integer and truncate to the one
    below; we compute the exact quotient. The difference is at most 1.
    """
    low = jnp.min(image, axis=(1, 2)).astype(jnp.int32)[..., None]
    high = jnp.max(image, axis=(1, 2)).astype(jnp.int32)[..., None]
    value = identity_table()
    above = jnp.clip(value - low, 0, high - low)
    stretched = _quotient(above * 255, jnp.maximum(high - low, 1))
    return jnp.where(high > low, stretched, value)


def equalize_table(counts: jax.Array) -> jax.Array:
    """[N, 3, 256]: flattens each channel's histogram, `ImageOps.equalize`'s integer algorithm.

    The step is 1/255 of all pixels except those of the largest value; a channel whose step is 0
    (constant, or nearly) stays unchanged.
    """
    value = jnp.arange(256, dtype=jnp.int32)
    below = jnp.cumsum(counts, axis=-1, dtype=jnp.int32) - counts
    largest = jnp.max(jnp.where(counts > 0, value, -1), axis=-1, keepdims=True)
    step = jnp.max(jnp.where(value == largest, below, 0), axis=-1, keepdims=True)
    step = _quotient(step, 255)
    flattened = _quotient((step >> 1) + below, jnp.maximum(step, 1))
    return jnp.where(step > 0, jnp.minimum(flattened, 255), identity_table())


def invert_table() -> jax.Array:
    """[1, 1, 256]: 255 - v."""
    return 255 - identity_table()


def posterize_table(bits: jax.Array) -> jax.Array:
    """[N, 1, 256]: keeps the `bits` ([N] int32) highest bits; 0 or fewer give black, 8 no change.

    Old Pillow, with which the papers trained, took 0 bits as black; Pillow 13 refuses it.
    """
    shift = (8 - jnp.clip(bits, 0, 8))[:, None, None]
    return (identity_table() >> shift) << shift


def solarize_table(threshold: jax.Array) -> jax.Array:
    """[N, 1, 256]: inverts values at or above the threshold, [N] int32."""
    value = identity_table()
    return jnp.where(value < threshold[:, None, None], value, 255 - value)


def solarize_add_table(addend: jax.Array) -> jax.Array:
    """[N, 1, 256]: adds to values below 128, up to 255; addend: [N] int32, not negative."""
    value = identity_table()
    return jnp.where(value < 128, jnp.minimum(value + addend[:, None, None], 255), value)
