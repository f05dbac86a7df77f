"""T2T-ViT equals a statement of it in PyTorch: logits, gradients, names, counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model, model_info
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.models.macs import count_macs, count_params
from tests.convert.test_torch_weights import assert_identical
from tests.models.oracle import images, logits_of, randomise, relative_error, state, to_nchw

DEPTHS = {"t2t_vit_14": (384, 14), "t2t_vit_19": (448, 19)}
QUICKLY = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def pair():
    """(the statement, ours, our variables)"""
    import torch

    from tests.models.torch_t2t_vit import T2TViT

    torch.manual_seed(0)
    torch.set_num_threads(1)
    oracle = randomise(T2TViT(384, 2, 5))
    torch.nn.init.normal_(oracle.cls_token)
    variables = from_torch("t2t_vit_14", state(oracle), stage_depths=(2,))
    return oracle, create_model("t2t_vit_14", num_classes=5, stage_depths=(2,)), variables


def test_logits_equal_the_statement(pair):
    oracle, model, variables = pair
    x = images((2, 224, 224, 3))
    found = jax.jit(model.apply, compiler_options=QUICKLY)(variables, x)
    assert relative_error(found, logits_of(oracle, x)) < 1e-5


def test_gradients_equal_the_statement(pair):
    oracle, model, variables = pair
    x = images((1, 224, 224, 3))
    (oracle(to_nchw(x)) ** 2).sum().backward()

    def loss(params):
        return (model.apply({**variables, "params": params}, x) ** 2).sum()

    found = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(variables["params"])
    named = to_torch("t2t_vit_14", {**variables, "params": found}, stage_depths=(2,))
    for name, value in oracle.named_parameters():
        if value.requires_grad:
            assert relative_error(named[name], value.grad.numpy()) < 1e-4, name


def test_state_dicts_survive_conversion(pair):
    oracle, _, variables = pair
    assert_identical(to_torch("t2t_vit_14", variables, stage_depths=(2,)), state(oracle))


def test_fixed_arrays_begin_as_in_the_paper():
    """Orthogonal projections of length √32, and sines and cosines."""
    from tests.models.torch_t2t_vit import T2TViT

    model = create_model("t2t_vit_14", num_classes=5, stage_depths=(1,))
    init = jax.jit(lambda x: model.init(jax.random.key(0), x)["batch_stats"])
    stem = init(jnp.zeros((1, 32, 32, 3)))["stem"]
    first, second = stem["attention1"]["w"], stem["attention2"]["w"]
    np.testing.assert_allclose(first @ first.T, 32 * np.eye(32), atol=1e-4)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_allclose(stem["pos_embed"], T2TViT.sinusoids(197, 384), atol=1e-4)


@pytest.mark.parametrize("name", DEPTHS)
def test_counts_are_exact(name):
    """Layers of the statement, and the projections of keys and queries, which are no layers."""
    import torch
    from torch import nn

    from tests.models.torch_t2t_vit import T2TViT

    macs = []

    def count(layer, _, output):
        macs.append(output.numel() * layer.weight.numel() // layer.weight.shape[0])

    with torch.device("meta"):
        oracle = T2TViT(*DEPTHS[name], 1000)
        for layer in oracle.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(count)
        oracle(torch.zeros(1, 3, 224, 224))
    model, info = create_model(name), model_info(name)
    learned = sum(p.numel() for p in oracle.parameters() if p.requires_grad)
    assert info.params == count_params(model) == learned
    projections = 2 * (56**2 + 28**2) * 64 * 32
    assert info.macs == count_macs(model, 224) == sum(macs) + projections
