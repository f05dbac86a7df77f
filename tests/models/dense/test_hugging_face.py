"""UperNet's logits and names against transformers', with random weights and statistics."""

import functools

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.models.layers.resize import resize_bilinear
from tests.convert.test_torch_weights import assert_identical, flat
from tests.models.dense.hugging_face import SHALLOW, configured, twin
from tests.models.oracle import (
    images,
    logits_of,
    random_variables,
    relative_error,
    state,
    to_nchw,
)

NAME = "upernet_convnext_atto"
OPTIONS = {"stage_depths": SHALLOW, "channels": 16}

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def theirs(transformers):
    return twin(transformers)


@pytest.fixture(scope="module")
def ours(theirs):
    """Our network and its variables, which are the twin's."""
    model = inx.create_model(NAME, num_classes=5, depthwise_impl="conv", **OPTIONS)
    return model, from_torch(NAME, state(theirs), **OPTIONS)


@pytest.mark.parametrize("size", [(96, 160), (64, 64), (70, 90), (111, 75), (32, 33)])
def test_logits_are_theirs_at_any_size(ours, theirs, size):
    model, variables = ours
    x = images((2, *size, 3))
    logits = resize_bilinear(jax.jit(model.apply)(variables, x), size)
    expected = logits_of(lambda x: theirs(x).logits, x).transpose(0, 2, 3, 1)
    assert np.abs(expected).max() > 0.1
    assert relative_error(logits, expected) < 1e-4


def test_logits_of_both_heads_are_theirs_before_the_resize(ours, theirs):
    model, variables = ours
    x = images((2, 72, 88, 3))
    found = jax.jit(functools.partial(model.apply, method="heads"))(variables, x)
    maps = theirs.backbone(to_nchw(x)).feature_maps
    for name, head in (("decode", theirs.decode_head), ("auxiliary", theirs.auxiliary_head)):
        expected = head(maps).detach().numpy().transpose(0, 2, 3, 1)
        assert relative_error(found[name], expected) < 1e-4, name


def test_our_arrays_are_loaded_strictly_by_theirs(theirs, ours, transformers):
    model, _ = ours
    import torch

    variables = random_variables(model, seed=3)
    arrays = to_torch(NAME, variables, "huggingface", **OPTIONS)
    other = twin(transformers)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()}, strict=True)
    x = images((1, 70, 90, 3))
    logits = resize_bilinear(jax.jit(model.apply)(variables, x), (70, 90))
    expected = logits_of(lambda x: other(x).logits, x).transpose(0, 2, 3, 1)
    assert relative_error(logits, expected) < 1e-4


def test_their_arrays_survive_both_conversions(theirs, ours):
    _, variables = ours
    arrays = state(theirs)
    assert_identical(to_torch(NAME, variables, "huggingface", **OPTIONS), arrays)
    again = from_torch(NAME, to_torch(NAME, variables, "mmseg", **OPTIONS), **OPTIONS)
    assert_identical(flat(again), flat(variables))


def test_a_network_without_an_auxiliary_head_is_theirs(transformers):
    theirs = twin(transformers, use_auxiliary_head=False)
    options = {**OPTIONS, "aux_head": False}
    variables = from_torch(NAME, state(theirs), **options)
    assert_identical(to_torch(NAME, variables, "huggingface", **options), state(theirs))


def test_the_published_size_has_as_many_parameters(transformers):
    import torch

    config = configured(transformers, (96, 192, 384, 768), (3, 3, 9, 3), num_labels=150)
    with torch.device("meta"):
        theirs = transformers.UperNetForSemanticSegmentation(config)
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert count == inx.model_info("upernet_convnext_tiny").params == 60_242_636
