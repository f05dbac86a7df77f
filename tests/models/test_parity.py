"""InceptionNeXt equals timm's: logits, gradients, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch, to_torch
from tests.models.oracle import images, logits_of, randomised, relative_error, state, to_nchw

# Without optimisation a network compiles in a fraction of the time.
QUICKLY = {"xla_backend_optimization_level": 0}
FEW = (1, 1, 2, 1)


@pytest.mark.parametrize(
    ("name", "size", "depths"),
    [
        ("inceptionnext_atto", (224, 224), None),
        ("inceptionnext_atto", (230, 230), None),
        ("inceptionnext_atto", (192, 256), None),
        pytest.param("inceptionnext_tiny", (224, 224), None, marks=pytest.mark.slow),
        ("inceptionnext_tiny", (95, 161), None),
        ("inceptionnext_small", (64, 64), FEW),
        pytest.param("inceptionnext_small", (64, 64), None, marks=pytest.mark.slow),
        ("inceptionnext_base", (64, 64), FEW),
        pytest.param("inceptionnext_base", (64, 64), None, marks=pytest.mark.slow),
    ],
)
def test_logits_equal_timm(timm, name, size, depths):
    oracle = randomised(timm, name, **({"depths": depths} if depths else {}))
    x = images((2, *size, 3))
    ours = create_model(name, stage_depths=depths, depthwise_impl="conv")
    variables = from_torch(name, state(oracle), stage_depths=depths)
    logits = jax.jit(lambda v: ours.apply(v, x), compiler_options=QUICKLY)(variables)
    assert logits.shape == (2, 1000)
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5


@pytest.mark.parametrize("impl", ["conv", "shift"])
def test_each_depthwise_implementation_equals_timm(timm, impl):
    oracle = randomised(timm, "inceptionnext_atto", num_classes=7)
    x = images((2, 70, 97, 3))
    ours = create_model("inceptionnext_atto", num_classes=7, depthwise_impl=impl)
    logits = ours.apply(from_torch("inceptionnext_atto", state(oracle)), x)
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5


def test_bfloat16_logits_are_near_timms_float32(timm):
    oracle = randomised(timm, "inceptionnext_atto")
    x = images((4, 96, 96, 3))
    ours = create_model("inceptionnext_atto", dtype=jnp.bfloat16)
    variables = from_torch("inceptionnext_atto", state(oracle))
    logits = jax.jit(ours.apply)(variables, x)
    assert logits.dtype == jnp.float32
    assert relative_error(logits, logits_of(oracle, x)) < 2e-2


def test_evaluation_gradients_equal_torchs(timm):
    import torch

    name, num_classes = "inceptionnext_atto", 10
    oracle = randomised(timm, name, num_classes)
    x, labels = images((2, 96, 96, 3)), np.array([3, 8])
    torch.nn.functional.cross_entropy(oracle(to_nchw(x)), torch.from_numpy(labels)).backward()
    variables = from_torch(name, state(oracle))
    ours = create_model(name, num_classes=num_classes)

    def loss(params):
        logits = ours.apply({**variables, "params": params}, x)
        return -jax.nn.log_softmax(logits)[np.arange(2), labels].mean()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    named = to_torch(name, {"params": grads, "batch_stats": variables["batch_stats"]})
    theirs = {key: value.grad.numpy() for key, value in oracle.named_parameters()}
    largest = max(np.abs(value).max() for value in theirs.values())
    assert largest > 0
    for key, value in theirs.items():
        assert np.abs(named[key] - value).max() < 1e-4 * largest, key


def test_running_statistics_after_a_training_step_equal_torchs(timm):
    name = "inceptionnext_atto"
    oracle = randomised(timm, name, num_classes=7)
    variables = from_torch(name, state(oracle))
    x = images((3, 64, 64, 3)) + 2
    expected_logits = logits_of(oracle.train(), x)
    ours = create_model(name, num_classes=7)
    logits, new = jax.jit(lambda v: ours.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables
    )
    assert relative_error(logits, expected_logits) < 1e-4
    named = to_torch(name, {**variables, **new})
    after = state(oracle)
    statistics = [key for key in after if "running_" in key]
    assert len(statistics) == 2 * 16
    for key in statistics:
        np.testing.assert_allclose(named[key], after[key], rtol=1e-4, atol=1e-4, err_msg=key)
