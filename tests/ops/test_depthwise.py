"""Every depthwise implementation equals PyTorch's grouped convolution, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.ops.depthwise import (
    BRANCHES,
    IMPLEMENTATIONS,
    depthwise_conv,
    inception_mixer,
)

KERNELS = [(3, 3), (1, 11), (11, 1), (1, 1), (5, 7)]
IMPLS = sorted(IMPLEMENTATIONS)


def torch_reference(x, kernel, bias, dilation, upstream):
    """Returns PyTorch's output and the gradients of x, kernel and bias."""
    import torch

    x = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    kernel = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    bias = torch.tensor(bias, requires_grad=True)
    padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel.shape[2:], strict=True))
    y = torch.nn.functional.conv2d(
        x, kernel, bias, padding=padding, dilation=dilation, groups=x.shape[1]
    )
    y.backward(torch.tensor(upstream.transpose(0, 3, 1, 2)))
    return (
        y.detach().numpy().transpose(0, 2, 3, 1),
        x.grad.numpy().transpose(0, 2, 3, 1),
        kernel.grad.numpy().transpose(2, 3, 1, 0),
        bias.grad.numpy(),
    )


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("size", KERNELS)
def test_depthwise_conv_equals_torch(impl, dilation, size):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 9, 13, 4)).astype(np.float32)
    kernel = random.normal(size=(*size, 1, 4)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    upstream = random.normal(size=x.shape).astype(np.float32)

    y, pullback = jax.vjp(lambda *a: depthwise_conv(*a, dilation, impl), x, kernel, bias)
    expected = torch_reference(x, kernel, bias, dilation, upstream)
    for ours, theirs in zip((y, *pullback(upstream)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dilation", [1, 2])
def test_mixer_convolves_branches_in_order_and_keeps_the_rest(impl, dilation):
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 12, 7, 11)).astype(np.float32)
    sizes = dict(zip(BRANCHES, [(3, 3), (1, 5), (5, 1)], strict=True))
    params = {
        name: {
            "kernel": random.normal(size=(*size, 1, 2)).astype(np.float32),
            "bias": random.normal(size=2).astype(np.float32),
        }
        for name, size in sizes.items()
    }
    y = inception_mixer(x, params, dilation, impl)
    assert y.shape == x.shape
    np.testing.assert_array_equal(y[..., :5], x[..., :5])
    for i, name in enumerate(BRANCHES):
        part = slice(5 + 2 * i, 7 + 2 * i)
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        alone, *_ = torch_reference(
            x[..., part], kernel, bias, (dilation, dilation), np.zeros_like(x[..., part])
        )
        np.testing.assert_allclose(y[..., part], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_bfloat16_stays_bfloat16_and_sums_in_float32(impl):
    x = jnp.full((1, 3, 41, 1), 1.0, jnp.bfloat16)
    kernel = jnp.full((1, 41, 1, 1), 1.0, jnp.bfloat16).at[0, 0].set(256)
    y = depthwise_conv(x, kernel, None, (1, 1), impl)
    assert y.dtype == jnp.bfloat16
    # 256 + 40 × 1: one by one in bfloat16, every 1 would be rounded away.
    assert y[0, 0, 20, 0] == 296


def test_auto_takes_no_convolution_on_a_cpu():
    x = jnp.ones((1, 4, 4, 2))
    kernel = jnp.ones((3, 3, 1, 2))
    assert jax.default_backend() == "cpu"
    text = jax.jit(depthwise_conv).lower(x, kernel).as_text()
    assert "convolution" not in text


def test_unknown_implementation_names_the_nearest():
    with pytest.raises(UserError, match=r"'shfit'.*did you mean shift"):
        depthwise_conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)), impl="shfit")


def test_even_kernels_are_refused():
    with pytest.raises(UserError, match="1×4"):
        depthwise_conv(jnp.ones((1, 4, 4, 2)), jnp.ones((1, 4, 1, 2)))
