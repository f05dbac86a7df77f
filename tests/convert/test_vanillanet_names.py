"""The authors' names of VanillaNet in both forms, and the slope, which they cannot hold."""

import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.macs import count_params
from tests.convert.test_torch_weights import assert_identical
from tests.models.oracle import state

NAME, DEPTHS = "vanillanet_8", (1, 1, 1, 1)
DIMS, POOLS = (512, 512, 1024, 2048, 4096), (None, 2, 2, 2)


@pytest.fixture(scope="module")
def states(timm):
    from tests.models import torch_vanillanet

    return [
        state(torch_vanillanet.make(DIMS, POOLS, num_classes=7, deployed=deployed))
        for deployed in (False, True)
    ]


def test_the_training_form_survives_conversion_bit_for_bit(states):
    before = states[0]
    variables = from_torch(NAME, before, stage_depths=DEPTHS)
    assert variables["host"] == {"slope": 1}
    assert variables["params"]["stages_3"]["conv2"]["kernel"].shape == (2048, 4096)
    assert_identical(to_torch(NAME, variables, stage_depths=DEPTHS), before)


def test_the_deployed_form_survives_conversion_bit_for_bit(states):
    before = states[1]
    variables = from_torch(NAME, before, stage_depths=DEPTHS, deployed=True)
    assert set(variables) == {"params"}
    model = inx.create_model(NAME, num_classes=7, stage_depths=DEPTHS).clone(is_deployed=True)
    assert sum(array.size for array in before.values()) == count_params(model)
    assert_identical(to_torch(NAME, variables, stage_depths=DEPTHS, deployed=True), before)


def test_forms_are_not_confused(states):
    with pytest.raises(
        UserError, match=r"missing: .*stem1\.0\.weight.*unexpected: .*stem\.0\.weight"
    ):
        from_torch(NAME, states[1], num_classes=7, stage_depths=DEPTHS)
    with pytest.raises(UserError, match="deployed model 'inceptionnext_atto' has no table"):
        from_torch("inceptionnext_atto", {}, deployed=True)


def test_a_slope_below_one_cannot_be_converted():
    variables = {"params": {}, "host": {"slope": np.float32(0.5)}}
    with pytest.raises(UserError, match=r"host/slope is 0\.5, .* they mean 1"):
        to_torch(NAME, variables)
