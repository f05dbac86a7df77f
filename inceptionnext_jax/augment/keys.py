"""Random keys that depend on (step key, position in the global batch) and on nothing else.

Slicing the batch (accumulation) or spreading it over devices therefore changes no draw.
"""

import jax

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
