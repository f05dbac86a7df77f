"""The network's outputs, precision and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.token_mixers import InceptionDWConv
from inceptionnext_jax.models.metanext import MetaNeXt
from tests.models.oracle import random_variables

KEY = jax.random.key(0)
SMALL = {"num_classes": 5, "stage_depths": (1, 1, 1, 1), "depthwise_impl": "conv"}


def make(**options):
    return create_model("inceptionnext_atto", **{**SMALL, **options})


@pytest.fixture(scope="module")
def variables():
    return random_variables(make())


@pytest.mark.parametrize(("H", "W"), [(64, 64), (70, 129)])
def test_features_have_strides_4_8_16_32(variables, H, W):
    model = make()
    x = jnp.zeros((2, H, W, 3))
    features = jax.eval_shape(
        lambda v: model.apply(v, x, train=False, method="features"), variables
    )
    assert [f.shape for f in features] == [
        (2, H // stride, W // stride, dim)
        for stride, dim in zip((4, 8, 16, 32), (40, 80, 160, 320), strict=True)
    ]


def test_logits_are_the_classified_last_features(variables):
    model = make()
    x = jax.random.normal(KEY, (2, 64, 64, 3))

    @jax.jit
    def both(v):
        features = model.apply(v, x, method="features")
        return model.apply(v, features[-1], method="classify"), model.apply(v, x)

    logits, expected = both(variables)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_initial_values_are_those_of_the_reference():
    # Without optimisation the many random draws compile in a third of the time.
    quickly = {"xla_backend_optimization_level": 0}
    init = jax.jit(make().init, compiler_options=quickly)
    params = init(KEY, jnp.zeros((1, 32, 32, 3)))["params"]
    block = params["stages_2"]["blocks_0"]
    np.testing.assert_array_equal(block["gamma"], np.full(160, 1e-6, np.float32))
    kernel = np.asarray(block["mlp"]["fc1"]["kernel"])
    assert kernel.std() == pytest.approx(0.02, rel=0.02)
    assert np.abs(kernel).max() > 0.06  # not truncated at two deviations
    for path, leaf in jax.tree.leaves_with_path(params):
        if path[-1].key == "bias":
            assert not np.any(leaf), path


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    model = make(dtype="bfloat16")
    x = jnp.zeros((2, 32, 32, 3))
    logits, variables = jax.eval_shape(model.init_with_output, KEY, x)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    features = jax.eval_shape(lambda v: model.apply(v, x, method="features"), variables)
    assert {f.dtype.name for f in features} == {"bfloat16"}


def test_float64_is_float64_throughout():
    with jax.enable_x64(True):
        model = make(dtype="float64", drop_path_rate=0.2, dropout_rate=0.2)
        x = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
        variables = random_variables(model)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float64"}
        jaxpr = jax.make_jaxpr(lambda v: model.apply(v, x))(variables)
        narrow = [v for e in jaxpr.eqns for v in e.outvars if v.aval.dtype == jnp.float32]
        assert not narrow
        train = functools.partial(
            model.apply, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
        )
        logits, new = jax.eval_shape(train, variables, x)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((logits, new))} == {"float64"}
        double = jax.jit(model.apply)(variables, x)
        assert double.dtype == jnp.float64
        narrowed = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
        single = jax.jit(make().apply)(narrowed, x.astype(np.float32))
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, atol=1e-5 * np.abs(double).max())


def test_token_mixer_may_be_a_name_or_a_factory():
    plain = MetaNeXt((1, 1, 1, 1), (24, 24, 24, 24), num_classes=2)
    mixer = functools.partial(InceptionDWConv, kernel_size=5)
    other = plain.clone(token_mixer=mixer)
    x = jnp.zeros((1, 32, 32, 3))
    shapes = [
        jax.eval_shape(m.init, KEY, x)["params"]["stages_0"]["blocks_0"]["token_mixer"]["dwconv_w"]
        for m in (plain, other)
    ]
    assert [s["kernel"].shape for s in shapes] == [(1, 11, 1, 3), (1, 5, 1, 3)]


def test_unknown_token_mixer_suggests():
    model = MetaNeXt((1, 1, 1, 1), (24, 24, 24, 24), token_mixer="incpetion")
    with pytest.raises(UserError, match="did you mean inception"):
        model.init(KEY, jnp.zeros((1, 32, 32, 3)))


def test_branches_without_channels_are_refused():
    model = MetaNeXt((1, 1, 1, 1), (4, 4, 4, 4))
    with pytest.raises(UserError, match=r"ratio=0\.125 of the mixer gives 0 of 4 channels"):
        model.init(KEY, jnp.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 31, 64, 3), np.float32), "31×64"),
        (np.zeros((64, 64, 3), np.float32), "B, H, W, 3"),
        (np.zeros((1, 64, 64, 3), np.uint8), "uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused(variables, x, message):
    with pytest.raises(UserError, match=message):
        make().apply(variables, x)


def test_a_batch_that_groups_do_not_divide_is_refused(variables):
    with pytest.raises(UserError, match="batch of 4 or 6"):
        make(bn_group_size=2).apply(
            variables, jnp.zeros((5, 32, 32, 3)), train=True, mutable=["batch_stats"]
        )
