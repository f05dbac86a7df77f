"""PVT equals that of transformers: logits, maps, gradients, names, counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model, model_info
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.macs import count_macs, count_params
from tests.convert.test_torch_weights import assert_identical
from tests.models.oracle import images, randomise, relative_error, state, to_nchw

DEPTHS = (1, 2, 1, 2)
FULL = {"pvt_small": (3, 4, 6, 3), "pvt_medium": (3, 4, 18, 3), "pvt_large": (3, 8, 27, 3)}


def network(transformers, depths, classes):
    return transformers.PvtForImageClassification(
        transformers.PvtConfig(depths=list(depths), num_labels=classes)
    )


@pytest.fixture(scope="module")
def pair(transformers):
    """(transformers' network, ours, our variables)"""
    import torch

    torch.manual_seed(0)
    oracle = randomise(network(transformers, DEPTHS, 5))
    with torch.no_grad():
        for name, value in oracle.named_parameters():
            if name.endswith(("cls_token", "position_embeddings")):
                value.normal_()
            elif value.ndim > 1:
                value.normal_(0, (value[0].numel()) ** -0.5)
    variables = from_torch("pvt_small", state(oracle), stage_depths=DEPTHS)
    return oracle, create_model("pvt_small", num_classes=5, stage_depths=DEPTHS), variables


def test_evaluation_takes_the_authors_crop():
    """github.com/whai362/PVT, classification/datasets.py: 224 of 256 pixels."""
    assert {model_info(name).crop_pct for name in FULL} == {224 / 256}


def test_logits_and_maps_equal_transformers(pair):
    import torch

    oracle, model, variables = pair
    x = images((2, 224, 224, 3))
    with torch.no_grad():
        found = oracle(to_nchw(x), output_hidden_states=True)
    assert relative_error(jax.jit(model.apply)(variables, x), found.logits.numpy()) < 1e-5
    maps = jax.jit(lambda v: model.apply(v, x, method="features"))(variables)
    theirs = [found.hidden_states[sum(DEPTHS[: i + 1]) - 1].numpy() for i in range(4)]
    theirs[3] = theirs[3][:, 1:]
    for ours, expected in zip(maps, theirs, strict=True):
        B, h, w, C = ours.shape
        assert relative_error(ours.reshape(B, h * w, C), expected) < 1e-5


def test_gradients_equal_transformers(pair):
    oracle, model, variables = pair
    x = images((1, 224, 224, 3))
    (oracle(to_nchw(x)).logits ** 2).sum().backward()
    found = jax.jit(jax.grad(lambda v: (model.apply(v, x) ** 2).sum()))(variables)
    named = to_torch("pvt_small", found, stage_depths=DEPTHS)
    for name, value in oracle.named_parameters():
        expected = value.grad.numpy()
        scale = max(np.abs(expected).max(), 1e-3)  # the keys' bias has no effect
        assert np.abs(named[name] - expected).max() < 1e-4 * scale, name


def test_other_sizes_resize_the_position_embeddings_bilinearly(pair):
    """transformers cannot: it is given the embeddings resized by PyTorch."""
    import copy

    import torch
    from torch.nn import functional

    oracle, model, variables = pair
    oracle, x = copy.deepcopy(oracle), images((1, 96, 160, 3))
    for i, embedding in enumerate(oracle.pvt.encoder.patch_embeddings):
        side, size = 56 >> i, (24 >> i, 40 >> i)
        table = embedding.position_embeddings.data
        native = table[:, -side * side :].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = functional.interpolate(native, size=size, mode="bilinear").flatten(2).mT
        embedding.position_embeddings.data = torch.cat([table[:, : -side * side], resized], 1)
    with torch.no_grad():
        expected = oracle(to_nchw(x)).logits.numpy()
    assert relative_error(jax.jit(model.apply)(variables, x), expected) < 1e-5


def test_state_dicts_survive_conversion_and_load_strictly(pair):
    import torch

    oracle, _, variables = pair
    before = state(oracle)
    weights = to_torch("pvt_small", variables, stage_depths=DEPTHS)
    oracle.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=True)
    assert_identical(state(oracle), before)


@pytest.mark.parametrize("name", FULL)
def test_counts_are_exact(transformers, name):
    import torch
    from torch import nn

    macs = []

    def count(layer, _, output):
        macs.append(output.numel() * layer.weight.numel() // layer.weight.shape[0])

    with torch.device("meta"):
        oracle = network(transformers, FULL[name], 1000).eval()
        for layer in oracle.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        oracle(torch.zeros(1, 3, 224, 224))
    info, model = model_info(name), create_model(name)
    assert info.stage_depths == FULL[name]
    assert info.params == count_params(model) == sum(p.numel() for p in oracle.parameters())
    assert info.macs == count_macs(model, 224) == sum(macs)


def test_the_map_of_the_last_stage_cannot_be_classified(pair):
    _, model, variables = pair
    with pytest.raises(UserError, match="class token"):
        model.apply(variables, jnp.zeros((1, 7, 7, 512)), method="classify")
