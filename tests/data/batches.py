"""Reading batches in tests."""

import numpy as np

from inceptionnext_jax.data import train_batches
from inceptionnext_jax.data.crop import CenterCrop, RandomResizedCrop
from inceptionnext_jax.tasks.classification.transform import (
    ONE_LABEL,
    EvalTransform,
    TrainTransform,
)


def train_transforms(size=16, label=ONE_LABEL, **crop):
    """Random crops to `size` pixels and a label, as the only transform."""
    return (TrainTransform(RandomResizedCrop(size, **crop), label),)


def eval_transforms(size=16, crop_pct=0.875, interpolation="bicubic", label=ONE_LABEL):
    """Centre crops to `size` pixels and a label, as the only transform."""
    return (EvalTransform(CenterCrop(size, crop_pct, interpolation), label),)


def read_train(
    source,
    *,
    batch_size,
    start=0,
    stop,
    positions=None,
    workers=0,
    seed=7,
    size=16,
    label=ONE_LABEL,
):
    """Returns the batches of steps start .. stop - 1 as a list."""
    positions = np.arange(batch_size) if positions is None else positions
    with train_batches(
        source,
        train_transforms(size, label),
        seed=seed,
        batch_size=batch_size,
        positions=positions,
        start_step=start,
        stop_step=stop,
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
