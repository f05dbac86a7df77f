"""The convolution of enlarged levels equals enlarging, joining and convolving them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from inceptionnext_jax.models.layers.enlarged_conv import conv_of_enlarged
from inceptionnext_jax.models.layers.resize import resize_bilinear

# Heights and widths: doublings, sides that are no multiples, one position, a level not enlarged.
PYRAMIDS = {
    "doublings": [(16, 24), (8, 12), (4, 6), (2, 3)],
    "odd": [(13, 17), (7, 9), (4, 5), (2, 3)],
    "one position": [(5, 4), (3, 1), (1, 2), (1, 1)],
    "equal sizes": [(6, 6), (6, 6), (3, 6), (6, 3)],
}


def plain(levels, kernel):
    size = levels[0].shape[1:3]
    joined = jnp.concatenate([resize_bilinear(x, size) for x in levels], axis=-1)
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(joined, kernel, (1, 1), "SAME", dimension_numbers=dimensions)


def drawn(sizes, dtype, channels=(4, 3, 5, 2), outputs=6):
    random = np.random.default_rng(0)
    levels = [
        jnp.asarray(random.normal(size=(2, *size, count)), dtype)
        for size, count in zip(sizes, channels, strict=True)
    ]
    kernel = jnp.asarray(random.normal(size=(3, 3, sum(channels), outputs)), dtype)
    return levels, kernel, jnp.asarray(random.normal(size=(2, *sizes[0], outputs)))


def difference(found, expected):
    expected = np.asarray(expected, np.float64)
    return np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", PYRAMIDS)
def test_values_and_gradients_in_float64(name):
    with jax.enable_x64(True):
        levels, kernel, weights = drawn(PYRAMIDS[name], jnp.float64)

        def both(function):
            def total(levels, kernel):
                y = function(levels, kernel)
                return (y * weights).sum(), y

            (_, y), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(levels, kernel)
            return jax.tree.leaves((y, gradients))

        found, expected = both(conv_of_enlarged), both(plain)
        assert [x.dtype for x in found] == [jnp.float64] * 6
        assert max(map(difference, found, expected)) < 1e-12


def test_in_bfloat16_it_is_as_exact_as_the_plain_form():
    with jax.enable_x64(True):
        sizes, channels = PYRAMIDS["doublings"], (64, 64, 64, 64)
        levels, kernel, _ = drawn(sizes, jnp.bfloat16, channels, outputs=32)
        exact = plain([x.astype(jnp.float64) for x in levels], kernel.astype(jnp.float64))

        def error(y):
            return np.sqrt(np.square(np.asarray(y, np.float64) - exact).mean())

        found = conv_of_enlarged(levels, kernel)
        assert found.dtype == jnp.float32
        assert error(found) < 1.2 * error(plain(levels, kernel))
