"""Dilated networks equal timm's in logits and in the sizes of their maps."""

import jax
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.geometry import stage_geometry
from tests.models.oracle import images, logits_of, randomised, relative_error, state, to_nchw


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["inceptionnext_atto", "convnext_atto"])
def test_dilated_features_and_logits_equal_timm(timm, name, output_stride):
    import torch

    oracle = randomised(timm, name, num_classes=5, output_stride=output_stride)
    x = images((1, 75, 100, 3))
    variables = from_torch(name, state(oracle))
    model = create_model(name, num_classes=5, output_stride=output_stride, depthwise_impl="conv")
    apply = jax.jit(
        lambda v: (model.apply(v, x, method="features"), model.apply(v, x)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    features, logits = apply(variables)
    with torch.no_grad():
        expected = oracle.forward_features(to_nchw(x)).numpy().transpose(0, 2, 3, 1)
    strides = [min(s, output_stride) for s in (4, 8, 16, 32)]
    assert [f.shape[1:3] for f in features] == [(75 // s, 100 // s) for s in strides]
    assert relative_error(features[-1], expected) < 1e-5
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5


def test_parameters_are_those_of_the_undilated_network():
    def shapes(stride):
        model = create_model("inceptionnext_atto", output_stride=stride)
        return jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))

    assert shapes(8) == shapes(32)


def test_strides_below_the_patches_are_refused():
    assert [g.dilation for g in stage_geometry(4, 4, 8)] == [1, 1, 2, 4]
    with pytest.raises(UserError, match="output_stride=8 is not possible with patches of 16"):
        create_model("convnext_small_iso", output_stride=8).init(
            jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)
        )
