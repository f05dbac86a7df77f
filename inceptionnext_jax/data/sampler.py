"""The example at each (step, position), and its random numbers.

Everything is integer hashing written out here, because NumPy guarantees the bits of its bit
generators but not of the distributions and shuffles built on them.
"""

import functools
import threading

import numpy as np

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
_lock = threading.Lock()


def splitmix64(x: np.ndarray) -> np.ndarray:
    """Hashes uint64 to uint64, elementwise: the output function of SplitMix64 (Steele, 2014)."""
    x = (x + np.uint64(_GOLDEN)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_indices(seed: int, stream: int, n: int) -> np.ndarray:
    """Returns a hash of (seed, stream, i) for i in 0..n-1, [n] uint64."""
    state = np.array([seed & _MASK], np.uint64)
    state = splitmix64(splitmix64(state) ^ np.array([stream & _MASK], np.uint64))
    return splitmix64(state ^ splitmix64(np.arange(n, dtype=np.uint64)))


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Returns the order in which `epoch` shows n examples, [n] uint32, read-only.

    The two newest epochs are kept, since batches around an epoch's end need both.
    """
    with _lock:  # otherwise every thread that reaches a new epoch would sort it again
        return _permutation(seed, epoch, n)


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    order = np.argsort(hash_indices(seed, epoch, n), kind="stable").astype(np.uint32)
    order.flags.writeable = False
    return order


def train_index(*, seed: int, step: int, position: int, batch_size: int, num_examples: int) -> int:
    """Returns the example at a global position of a step; an epoch's remainder is dropped."""
    epoch, step_in_epoch = divmod(step, num_examples // batch_size)
    order = permutation(seed, epoch, num_examples)
    return int(order[step_in_epoch * batch_size + position])


def image_uniforms(seed: int, draw: int, count: int) -> np.ndarray:
    """Returns `count` numbers in [0, 1) for the run's image number `draw`.

    draw: step * batch_size + position, so no two images of a run share numbers.
    Returns: [count] float64.
    """
    generator = np.random.Philox(key=np.array([seed & _MASK, draw & _MASK], np.uint64))
    return (generator.random_raw(count) >> np.uint64(11)) * 2.0**-53
