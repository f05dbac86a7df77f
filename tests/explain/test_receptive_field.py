"""Effective receptive fields equal PyTorch's gradients; areas equal those of counted squares."""

import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.explain.receptive_field import area_shares, make_receptive_field
from tests.models.oracle import images, randomised, state, to_nchw


def test_fields_are_torchs_gradients(timm):
    name, depths = "inceptionnext_atto", (1, 1, 1, 1)
    oracle = randomised(timm, name, 3, depths=depths)
    x = images((2, 96, 96, 3))
    inputs = to_nchw(x).requires_grad_()
    oracle.forward_features(inputs)[:, :, 1, 1].sum().backward()
    expected = inputs.grad.relu().sum((0, 1)).numpy()
    model = inx.create_model(name, num_classes=3, stage_depths=depths, depthwise_impl="conv")
    variables = from_torch(name, state(oracle), stage_depths=depths)
    found = make_receptive_field(model)(variables, x)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("side", [9, 12])
def test_areas_are_those_of_the_smallest_squares(side):
    field = np.random.default_rng(side).random((side, side))
    shares = (0.05, 0.2, 0.5, 0.99, 1.0)
    centre = side // 2
    for share, area in zip(shares, area_shares(field, shares), strict=True):
        for radius in range(side):
            low = max(centre - radius, 0)
            square = field[low : centre + radius + 1, low : centre + radius + 1]
            if square.sum() >= share * field.sum() * (1 - 1e-9):
                break
        assert area == min(2 * radius + 1, side) ** 2 / side**2


def test_a_field_of_one_pixel_has_the_smallest_area():
    field = np.zeros((8, 8))
    field[4, 4] = 2
    assert area_shares(field, (0.2, 0.99)) == [1 / 64, 1 / 64]
    assert np.isnan(area_shares(np.zeros((8, 8)), (0.5,))).all()
