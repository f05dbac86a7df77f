"""Resizing and pooling equal PyTorch's in both directions, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.models.layers.pool import adaptive_average_pool, adaptive_max_pool
from inceptionnext_jax.models.layers.resize import (
    nearest_positions,
    resize_bilinear,
    resize_nearest,
)
from tests.models.oracle import images, to_nchw

SIZES = [
    ((8, 12), (16, 24)),  # whole factors
    ((5, 3), (20, 9)),
    ((4, 6), (9, 13)),  # enlarged by others
    ((2, 3), (18, 27)),
    ((1, 1), (7, 5)),
    ((9, 13), (4, 6)),  # shrunk
    ((32, 48), (8, 12)),
    ((7, 10), (7, 3)),  # one side kept
    ((6, 5), (3, 20)),  # one side shrunk, the other enlarged
]


def both(ours, theirs, shape):
    """Returns values and gradients of ours, then of PyTorch's, for one random image."""
    x = images((2, *shape, 3))
    tensor = to_nchw(x).requires_grad_()
    expected = theirs(tensor)
    weights = images((2, *expected.shape[2:], 3), seed=2)
    (expected * to_nchw(weights)).sum().backward()
    found, pull = jax.vjp(ours, jnp.asarray(x))
    results = [found, pull(jnp.asarray(weights))[0]]
    oracle = [expected.detach(), tensor.grad]
    return results, [tensor.numpy().transpose(0, 2, 3, 1) for tensor in oracle]


def assert_equal(ours, theirs, shape, tolerance=1e-5):
    for found, expected in zip(*both(ours, theirs, shape), strict=True):
        np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_bilinear_resizing_equals_torch(timm, before, after):
    from torch.nn.functional import interpolate

    assert_equal(
        lambda x: resize_bilinear(x, after),
        lambda x: interpolate(x, after, mode="bilinear", align_corners=False),
        before,
    )


@pytest.mark.parametrize(("before", "after"), [*SIZES, ((80, 127), (127, 160))])
def test_nearest_resizing_equals_torch(timm, before, after):
    from torch.nn.functional import interpolate

    assert_equal(
        lambda x: resize_nearest(x, after),
        lambda x: interpolate(x, after, mode="nearest"),
        before,
    )


def test_nearest_positions_equal_torch_at_every_size(timm):
    import torch
    from torch.nn.functional import interpolate

    for before in range(1, 40):
        row = np.arange(before, dtype=np.float32)
        for after in range(1, 130, 3):
            expected = interpolate(torch.from_numpy(row)[None, None], after)[0, 0]
            found = nearest_positions(before, after)
            np.testing.assert_array_equal(found, expected, err_msg=f"{before} to {after}")


@pytest.mark.parametrize("bins", [(1, 1), (2, 2), (3, 3), (6, 6), (2, 5)])
@pytest.mark.parametrize("shape", [(2, 3), (4, 6), (7, 13), (16, 64)])
def test_adaptive_pooling_equals_torch(timm, shape, bins):
    from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

    assert_equal(
        lambda x: adaptive_average_pool(x, bins), lambda x: adaptive_avg_pool2d(x, bins), shape
    )
    assert_equal(
        lambda x: adaptive_max_pool(x, bins), lambda x: adaptive_max_pool2d(x, bins), shape
    )


@pytest.mark.parametrize("size", [(16, 24), (5, 7)])
def test_half_precision_is_rounded_once(size):
    x = jnp.asarray(images((1, 8, 12, 3)), jnp.bfloat16)
    wide = x.astype(jnp.float32)
    for function in (resize_bilinear, adaptive_average_pool):
        found = function(x, size)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_array_equal(found, function(wide, size).astype(jnp.bfloat16))
