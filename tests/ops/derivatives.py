"""Gradients by finite differences, in float64."""

import jax
import numpy as np


def assert_gradient(function, x, step=1e-6):
    """Checks the gradient of a scalar function at x, under `jax.enable_x64`."""
    function = jax.jit(function)
    gradient = np.asarray(jax.jit(jax.grad(function))(x))
    assert gradient.dtype == np.float64
    numeric = np.empty_like(gradient)
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        numeric[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)
