"""Random keys that depend on (step key, position in the global batch) and on nothing else.

Slicing the batch (accumulation) or spreading it over devices therefore changes no draw.
"""

import jax
import jax.numpy as jnp

# One stream for each consumer, so that no two of them ever share a key.
RAND_AUGMENT, COLOR_JITTER, MIXING, ERASING = range(4)


def keys_at(key: jax.Array, stream: int, positions: jax.Array) -> jax.Array:
    """Returns one key for each position.

    Args:
      key: the step's key for augmentation.
      stream: one of this module's stream numbers.
      positions: [N] int32, position of an image, or index of a mixing group, in the global batch.

    Returns:
      [N] keys: fold_in(fold_in(key, stream), position).
    """
    stream_key = jax.random.fold_in(key, stream)
    return jax.vmap(lambda position: jax.random.fold_in(stream_key, position))(positions)


def integers_below(uniform: jax.Array, bound: jax.Array | int) -> jax.Array:
    """int32 in 0..bound-1 from uniform float32 in [0, 1): equally likely to within bound / 2^23.

    Cheaper than `jax.random.randint` where many small draws come from one key: one call of the
    generator, which matters when every call is a kernel launch on a batch of scalars.
    """
    return jnp.minimum((uniform * bound).astype(jnp.int32), bound - 1)


def snapped(value: jax.Array, bits: int) -> jax.Array:
    """The nearest multiple of 2^-bits.

    Programs for other batch shapes or meshes may evaluate a transcendental function differently in
    the last bit. Snapping the values computed by one keeps the draw the same in all of them.
    """
    return jnp.round(value * 2.0**bits) * 2.0**-bits
