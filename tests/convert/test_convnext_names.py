"""ConvNeXt's two namings and the two layouts of its MLPs are recognised automatically."""

import re

import numpy as np
import pytest

from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from tests.convert.test_torch_weights import assert_identical, flat
from tests.models.oracle import randomised, state


def authors_names(state_dict):
    """Renames timm's arrays as the authors do; all MLPs are linear layers there."""
    pairs = (
        (r"^stem\.(\d)", r"downsample_layers.0.\1"),
        (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
        (r"\.blocks\.", "."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )
    renamed = {}
    for key, value in state_dict.items():
        for pattern, name in pairs:
            key = re.sub(pattern, name, key)
        renamed[key] = value.reshape(value.shape[:2]) if "pwconv" in key else value
    return renamed


@pytest.fixture(scope="module")
def atto(timm):
    return state(randomised(timm, "convnext_atto", num_classes=5))


@pytest.mark.parametrize("name", ["convnext_atto", "convnext_tiny"])
def test_state_dicts_load_strictly_into_timm(timm, name):
    import torch

    oracle = randomised(timm, name, num_classes=5)
    before = state(oracle)
    state_dict = to_torch(name, from_torch(name, before))
    oracle.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict.items()}, strict=True)
    assert_identical(state(oracle), before)


def test_authors_names_hold_the_same_network(atto):
    theirs = authors_names(atto)
    assert {"downsample_layers.3.1.weight", "stages.2.5.pwconv1.bias", "head.bias"} <= set(theirs)
    assert_identical(
        flat(from_torch("convnext_atto", theirs)), flat(from_torch("convnext_atto", atto))
    )
    # …and come back under timm's.
    assert_identical(to_torch("convnext_atto", from_torch("convnext_atto", theirs)), atto)


def test_linear_and_convolutional_mlps_hold_the_same_network(atto):
    linear = {
        k: v.reshape(v.shape[:2]) if ".mlp.fc" in k and v.ndim == 4 else v for k, v in atto.items()
    }
    assert linear["stages.0.blocks.0.mlp.fc1.weight"].shape == (160, 40)
    assert_identical(
        flat(from_torch("convnext_atto", linear)), flat(from_torch("convnext_atto", atto))
    )


def test_mismatches_are_reported_in_the_given_names(atto):
    theirs = authors_names(atto)
    del theirs["stages.1.0.dwconv.weight"]
    theirs["norm.bias"] = np.zeros(3, np.float32)
    with pytest.raises(UserError) as raised:
        from_torch("convnext_atto", theirs)
    message = str(raised.value)
    assert "1 missing: stages.1.0.dwconv.weight" in message
    assert "1 misshapen: norm.bias (3,) instead of (320,)" in message
    assert "unexpected" not in message
    assert "with 5 classes" in message
