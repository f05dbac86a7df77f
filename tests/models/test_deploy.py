"""Deployed networks give the same logits with fewer parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models import folding
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.models.stacking import stack_blocks
from tests.models.oracle import images, random_variables, relative_error

QUICKLY = {"xla_backend_optimization_level": 0}
SMALL = {"num_classes": 5, "depthwise_impl": "conv"}


def make(name, **options):
    depths = {1: (2,), 4: (1, 1, 2, 1)}[len(inx.model_info(name).stage_depths)]
    return inx.create_model(name, stage_depths=depths, **SMALL, **options)


def logits(model, variables, x):
    return jax.jit(lambda v: model.apply(v, x), compiler_options=QUICKLY)(variables)


def error_after_deploy(model, variables, size=(75, 100)):
    x = images((2, *size, 3)).astype(model.dtype)
    deployed, folded = inx.deploy(model, variables)
    return relative_error(logits(deployed, folded, x), np.asarray(logits(model, variables, x)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inceptionnext_atto", {}),
        ("inceptionnext_atto", {"scan": True}),
        ("inceptionnext_atto", {"output_stride": 8}),
        ("inceptionnext_atto", {"norm": "layer", "head": "linear"}),
        ("inceptionnext_tiny_sequential", {}),
        ("convnext_atto", {"output_stride": 16}),
        ("convnext_tiny_k3_par4", {}),
        ("inceptionnext_small_iso", {}),
        ("convnext_large_iso", {}),
        ("metanext_attn_small_iso", {"layer_scale_init": 1e-6}),
    ],
)
def test_logits_stay_the_same(name, options):
    model = make(name, **options)
    assert error_after_deploy(model, random_variables(model)) < 1e-5


@pytest.mark.parametrize("output_stride", [8, 32])
@pytest.mark.parametrize("name", ["inceptionnext_atto", "convnext_atto"])
def test_logits_stay_the_same_to_the_last_digits_of_float64(name, output_stride):
    with jax.enable_x64(True):
        model = make(name, output_stride=output_stride, dtype=jnp.float64)
        assert error_after_deploy(model, random_variables(model)) < 1e-12


def without_shift(fold):
    """The fold without the norm's shift."""
    return lambda layer, affine: {**fold(layer, affine), "bias": np.asarray(layer["bias"])}


@pytest.mark.parametrize("fold", ["fold_after", "fold_before"])
def test_a_missing_shift_changes_the_logits(fold, monkeypatch):
    wrong = without_shift(getattr(folding, fold))
    monkeypatch.setattr(f"inceptionnext_jax.models.metanext_folding.{fold}", wrong)
    model = make("inceptionnext_atto")
    assert error_after_deploy(model, random_variables(model)) > 1e-3


@pytest.mark.parametrize(
    ("name", "size", "dropped"),
    [
        # BatchNorms' scale and bias in stem, blocks and downsamplings, and gamma: 3 × (sum of
        # depth × dim) + 2 × (stem and the three maps before a downsampling).
        ("inceptionnext_atto", 64, 3 * 1840 + 2 * (40 + 40 + 80 + 160)),
        # With LayerNorm, the stem's norm stays.
        ("convnext_atto", 64, 3 * 1840 + 2 * (40 + 80 + 160)),
        ("inceptionnext_small_iso", 64, 2 * 18 * 384),
    ],
)
def test_folded_parameters_are_removed(name, size, dropped):
    model = inx.create_model(name, scan=True)
    assert sum(d * w for d, w in zip((2, 2, 6, 2), (40, 80, 160, 320), strict=True)) == 1840
    deployed = model.clone(is_deployed=True)
    assert count_params(model) - count_params(deployed) == dropped
    assert count_macs(model, size) == count_macs(deployed, size)


@pytest.mark.parametrize("stacked", [False, True])
def test_variables_have_the_deployed_networks_structure(stacked):
    model = make("inceptionnext_atto", scan=True, output_stride=8)
    plain = random_variables(make("inceptionnext_atto", output_stride=8))
    deployed, folded = inx.deploy(model, stack_blocks(plain) if stacked else plain)
    x = jnp.zeros((1, 32, 32, 3))
    expected = jax.eval_shape(deployed.init, jax.random.key(0), x)
    assert jax.tree.structure(folded) == jax.tree.structure(expected)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), folded) == jax.tree.map(
        lambda a: (a.shape, a.dtype), expected
    )
    # The norms before dilated downsamplings stay, with their statistics.
    assert set(folded["batch_stats"]) == {"stages_2", "stages_3"}
    assert "scale" in plain["params"]["stages_1"]["downsample"]["norm"]  # unchanged


def test_deploying_twice_changes_nothing():
    model = make("inceptionnext_atto")
    once = inx.deploy(model, random_variables(model))
    again = inx.deploy(*once)
    assert again[0] == once[0]
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, again[1], once[1]))


def test_training_a_deployed_network_is_refused():
    model = make("inceptionnext_atto")
    deployed, folded = inx.deploy(model, random_variables(model))
    with pytest.raises(UserError, match="train the network it was made from"):
        deployed.apply(folded, images((2, 32, 32, 3)), train=True, mutable=["batch_stats"])


def test_missing_statistics_are_named():
    model = make("inceptionnext_atto")
    with pytest.raises(UserError, match="hold params, but the running statistics"):
        inx.deploy(model, {"params": random_variables(model)["params"]})
