"""ConvNeXt equals timm's: logits and gradients; options of its head and layer scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.models.layers.norm import LayerNorm
from tests.models.oracle import images, logits_of, randomised, relative_error, state, to_nchw

# Without optimisation a network compiles in a fraction of the time.
QUICKLY = {"xla_backend_optimization_level": 0}
FEW = (1, 1, 2, 1)


@pytest.mark.parametrize(
    ("name", "size", "depths"),
    [
        ("convnext_atto", (224, 224), None),
        ("convnext_atto", (230, 230), None),
        ("convnext_atto", (96, 160), None),
        ("convnext_tiny", (95, 161), None),
        ("convnext_small", (64, 64), FEW),
        pytest.param("convnext_small", (64, 64), None, marks=pytest.mark.slow),
        ("convnext_base", (33, 64), FEW),
        pytest.param("convnext_base", (33, 64), None, marks=pytest.mark.slow),
    ],
)
def test_logits_equal_timm(timm, name, size, depths):
    options = {"depths": depths} if depths else {}
    oracle = randomised(timm, name, num_classes=21, **options)
    x = images((2, *size, 3))
    variables = from_torch(name, state(oracle), stage_depths=depths)
    model = create_model(name, num_classes=21, stage_depths=depths, depthwise_impl="conv")
    logits = jax.jit(lambda v: model.apply(v, x), compiler_options=QUICKLY)(variables)
    assert logits.shape == (2, 21)
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5


def test_gradients_equal_torchs(timm):
    import torch

    name = "convnext_atto"
    oracle = randomised(timm, name, num_classes=10)
    x, labels = images((2, 64, 64, 3)), np.array([3, 8])
    torch.nn.functional.cross_entropy(oracle(to_nchw(x)), torch.from_numpy(labels)).backward()
    variables = from_torch(name, state(oracle))
    ours = create_model(name, num_classes=10, depthwise_impl="conv")

    def loss(variables):
        # Nothing is updated in training and, without rates, nothing is dropped.
        logits, updates = ours.apply(variables, x, train=True, mutable=["batch_stats"])
        assert not updates
        return -jax.nn.log_softmax(logits)[np.arange(2), labels].mean()

    gradients = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(variables)
    named = to_torch(name, gradients)
    theirs = {key: value.grad.numpy() for key, value in oracle.named_parameters()}
    assert sorted(named) == sorted(theirs)
    largest = max(np.abs(value).max() for value in theirs.values())
    assert largest > 0
    for key, value in theirs.items():
        assert np.abs(named[key] - value).max() < 1e-4 * largest, key


def test_22k_head_has_the_shape_of_its_classes():
    model = create_model("convnext_atto", num_classes=21_841)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert shapes["params"]["head"]["fc"]["kernel"].shape == (320, 21_841)


@pytest.mark.parametrize(
    ("name", "layer"), [("convnext_atto", "fc"), ("inceptionnext_atto", "fc2")]
)
def test_head_init_scale_shrinks_the_classifier_alone(name, layer):
    def first(scale):
        model = create_model(name, stage_depths=(1, 1, 1, 1), head_init_scale=scale)
        init = jax.jit(model.init, compiler_options=QUICKLY)
        return init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]

    full, small = first(1.0), first(0.001)
    np.testing.assert_allclose(
        small["head"][layer].pop("kernel"), 0.001 * full["head"][layer].pop("kernel"), rtol=1e-5
    )
    for ours, theirs in zip(jax.tree.leaves(small), jax.tree.leaves(full), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layer_norm_of_bfloat16_is_computed_in_float32():
    x = images((2, 3, 3, 16)) + 30
    variables = LayerNorm().init(jax.random.key(0), x)
    half = jnp.asarray(x, jnp.bfloat16)
    y = LayerNorm(dtype=jnp.bfloat16).apply(variables, half)
    assert y.dtype == jnp.bfloat16
    expected = LayerNorm().apply(variables, half.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=2e-2)
