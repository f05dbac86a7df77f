"""The 3×3 convolution with gradients by products equals XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.ops import convolution


@pytest.mark.parametrize("sides", [(5, 7), (1, 4), (2, 1)])
def test_values_and_gradients_equal_those_of_xla(sides):
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x, kernel, weights = (
            jnp.asarray(random.normal(size=shape))
            for shape in ((2, *sides, 4), (3, 3, 4, 6), (2, *sides, 6))
        )

        def both(function):
            y, pullback = jax.vjp(function, x, kernel)
            return y, *pullback(weights)

        found = both(convolution._with_products)
        for value, expected in zip(found, both(convolution._conv), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("side", "channels", "is_large"), [(64, 512, True), (32, 512, False)])
def test_products_are_used_where_they_were_measured_to_be_faster(side, channels, is_large):
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), jnp.float32)
    gradient = jax.grad(lambda kernel, x: convolution.conv3x3(x, kernel).sum())
    with_loop = "while" in jax.jit(gradient).lower(kernel, x).as_text()
    assert with_loop == (is_large and jax.default_backend() == "cpu")


def test_bfloat16_sums_in_float32():
    random = np.random.default_rng(0)
    x, g = (jnp.asarray(random.normal(size=(1, 40, 40, 4)), jnp.bfloat16) for _ in range(2))
    kernel = jnp.zeros((3, 3, 4, 4), jnp.bfloat16)
    dx, found = jax.vjp(convolution._with_products, x, kernel)[1](g)
    assert (dx.dtype, found.dtype) == (jnp.bfloat16, jnp.bfloat16)
    wide = jax.vjp(convolution._conv, x.astype("f4"), kernel.astype("f4"))[1](g.astype("f4"))[1]
    np.testing.assert_allclose(found.astype("f4"), wide, atol=0.01 * np.abs(wide).max())
