"""Reading batches in tests."""

import numpy as np

from inceptionnext_jax.data import train_batches


def read_train(source, *, batch_size, start=0, stop, positions=None, workers=0, seed=7, size=16):
    """Returns the batches of steps start .. stop - 1 as a list."""
    positions = np.arange(batch_size) if positions is None else positions
    with train_batches(
        source,
        seed=seed,
        batch_size=batch_size,
        positions=positions,
        start_step=start,
        stop_step=stop,
        image_size=size,
        workers=workers,
    ) as batches:
        return list(batches)


def assert_same(left, right):
    """Both lists of batches hold the same arrays, bit for bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
