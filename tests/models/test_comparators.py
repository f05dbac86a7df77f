"""The comparators equal timm's: logits, gradients, statistics, conversion, deployed forms."""

import copy
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from inceptionnext_jax import create_model, model_info
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.layers.conv_norm import ConvNorm
from inceptionnext_jax.models.layers.drop import DropNoise
from inceptionnext_jax.models.metaformer import MetaFormerBlock
from inceptionnext_jax.models.resnet import Bottleneck
from tests.convert.test_torch_weights import assert_identical
from tests.models.comparators import SHALLOW, TIMMS, shallow
from tests.models.oracle import (
    images,
    logits_of,
    random_variables,
    randomised,
    relative_error,
    state,
    to_nchw,
)

QUICKLY = {"xla_backend_optimization_level": 0}


def logits(model, variables, x):
    return jax.jit(lambda v: model.apply(v, x), compiler_options=QUICKLY)(variables)


@pytest.fixture(scope="module", params=SHALLOW)
def pair(request, timm):
    """(name, timm's network, our network, our variables)"""
    name = request.param
    depths = SHALLOW[name][0]
    oracle = shallow(timm, name)
    variables = from_torch(name, state(oracle), stage_depths=depths)
    return name, oracle, create_model(name, num_classes=5, stage_depths=depths), variables


def test_logits_equal_timm(pair):
    name, oracle, model, variables = pair
    x = images((2, *SHALLOW[name][1], 3))
    assert relative_error(logits(model, variables, x), logits_of(oracle, x)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMMS)
def test_whole_networks_equal_timm_at_their_own_size_and_at_one_that_is_not_square(timm, name):
    size, model = model_info(name).input_size, create_model(name, num_classes=5)
    for shape in ((size, size), (size, size + 32)):
        options = {"dynamic_img_size": True} if name.startswith(("deit", "vit")) else {}
        if name.startswith("swin"):
            options = {"img_size": shape}
        if name == "tnt_small" and shape != (size, size):
            continue  # timm's takes no other size
        oracle = randomised(timm, TIMMS[name], num_classes=5, **options)
        variables = from_torch(name, state(oracle))
        x = images((1, *shape, 3))
        assert relative_error(logits(model, variables, x), logits_of(oracle, x)) < 1e-5


def test_vision_transformer_at_its_native_size_equals_timm(timm):
    oracle = shallow(timm, "deit_small")
    variables = from_torch("deit_small", state(oracle), stage_depths=(2,))
    model = create_model("deit_small", num_classes=5, stage_depths=(2,))
    x = images((1, 224, 224, 3))
    assert relative_error(logits(model, variables, x), logits_of(oracle, x)) < 1e-5


def test_transformer_in_transformer_at_another_size_equals_timm(timm):
    from timm.layers import resample_abs_pos_embed

    oracle = shallow(timm, "tnt_small")
    variables = from_torch("tnt_small", state(oracle), stage_depths=(2,))
    model = create_model("tnt_small", num_classes=5, stage_depths=(2,))
    theirs = oracle.state_dict()
    theirs["patch_pos"] = resample_abs_pos_embed(theirs["patch_pos"], [3, 5])
    small = timm.create_model(TIMMS["tnt_small"], num_classes=5, depth=2, img_size=(48, 80))
    small.load_state_dict(theirs)
    x = images((2, 48, 80, 3))
    assert relative_error(logits(model, variables, x), logits_of(small.eval(), x)) < 1e-5


@pytest.mark.parametrize("size", [(224, 256), (256, 256), (384, 384)])
def test_swin_at_other_sizes_equals_timms_network_of_that_size(timm, size):
    """The last stage shifts its windows along sides of the map that exceed one."""
    depths = (1, 1, 2, 2)
    options = {"img_size": size, "depths": depths}
    oracle = randomised(timm, TIMMS["swin_tiny"], num_classes=5, **options)
    for key, value in oracle.named_parameters():
        if key.endswith("bias_table"):
            value.data.normal_()
    model = create_model("swin_tiny", num_classes=5, stage_depths=depths)
    variables = from_torch("swin_tiny", state(oracle), stage_depths=depths)
    x = images((1, *size, 3))
    assert relative_error(logits(model, variables, x), logits_of(oracle, x)) < 1e-5


def test_features_are_stage_maps_and_classify_gives_the_logits(pair):
    name, _, model, variables = pair
    x = images((2, 64, 96, 3))
    maps = jax.eval_shape(lambda v: model.apply(v, x, method="features"), variables)
    if name in ("deit_small", "tnt_small"):
        assert [m.shape for m in maps] == [(2, 4, 6, 384)]
        with pytest.raises(UserError, match="class token"):
            model.apply(variables, maps[0], method="classify")
        return
    assert [m.shape[1:3] for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [m.shape[3] for m in maps] == list(model.stage_dims)

    def both(v):
        features = model.apply(v, x, method="features")
        return model.apply(v, features[-1], method="classify"), model.apply(v, x)

    ended, whole = jax.jit(both, compiler_options=QUICKLY)(variables)
    np.testing.assert_allclose(ended, whole, atol=1e-5 * np.abs(whole).max())


def test_deployed_equals_the_original(pair):
    name, _, model, variables = pair
    x = images((2, *SHALLOW[name][1], 3))
    small, folded = deploy(model, variables)
    if name.startswith(("deit", "swin", "focal", "tnt")):  # nothing to fold
        assert (small, folded) == (model, variables)
        return
    assert set(folded) == {"params"}
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(folded)]
    kept = "stem.*norm" if name == "poolformer_s12" else "norm"
    assert not [path for path in paths if re.search(f"{kept}|scale.*gamma", path)]
    before, after = logits(model, variables, x), logits(small, folded, x)
    assert relative_error(after, before) < 1e-5


def test_running_statistics_after_a_training_step_equal_torchs(timm):
    oracle = shallow(timm, "resnet50")
    depths = SHALLOW["resnet50"][0]
    variables = from_torch("resnet50", state(oracle), stage_depths=depths)
    x = images((3, 64, 64, 3)) + 2
    expected = logits_of(oracle.train(), x)
    model = create_model("resnet50", num_classes=5, stage_depths=depths)
    found, new = jax.jit(
        lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]), compiler_options=QUICKLY
    )(variables)
    assert relative_error(found, expected) < 1e-4
    named, after = to_torch("resnet50", {**variables, **new}, stage_depths=depths), state(oracle)
    statistics = [key for key in after if "running_" in key]
    assert len(statistics) == 2 * (1 + 5 * 3 + 4)
    for key in statistics:
        np.testing.assert_allclose(named[key], after[key], rtol=1e-4, atol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    ("name", "size", "expected"), [("deit_small", 40, "multiples of 16"), ("swin_tiny", 62, "of 4")]
)
def test_sizes_that_patches_do_not_divide_are_refused(name, size, expected):
    model = create_model(name)
    with pytest.raises(UserError, match=expected):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


class Ones(linen.Module):
    """Replaces norms and mixers by a constant 1."""

    dtype: object = None

    def __call__(self, x, train=False):
        return jnp.ones_like(x)


def test_both_residuals_of_a_block_drop_independently():
    block = MetaFormerBlock(mixer=Ones, norm=Ones)
    x = images((64, 1, 1, 4))
    noise = DropNoise.create(jax.random.key(0), 64, None)
    variables = block.init(jax.random.key(1), x, None, 0.0, 0)
    second = block.apply(variables, x, None, 0.0, 0) - x - 1  # the MLP's output for ones
    left = block.apply(variables, x, noise, 0.5, 3) - x
    for first_kept in (0, 1):
        for second_kept in (0, 1):
            expected = 2 * (first_kept + second_kept * second)
            share = np.isclose(left, expected, atol=1e-5).all((1, 2, 3)).mean()
            assert 0.1 < share < 0.4


def test_bottlenecks_drop_their_branch_and_keep_the_shortcut():
    block = Bottleneck(8, 1, ConvNorm)
    x = images((64, 2, 2, 8))
    variables = block.init(jax.random.key(1), x, None, 0.0, 0)
    variables["params"]["conv3"]["norm"]["scale"] += 1  # begins as 0
    noise = DropNoise.create(jax.random.key(0), 64, None)
    y = block.apply(variables, x, noise, 0.5, 3)
    dropped = np.isclose(y, np.maximum(x, 0)).all((1, 2, 3))
    assert 0.3 < dropped.mean() < 0.7


def test_masks_do_not_depend_on_how_the_batch_is_divided():
    model = create_model(
        "deit_small", num_classes=5, stage_depths=(2,), drop_path_rate=0.5, dropout_rate=0.3
    )
    x, key = images((6, 32, 32, 3)), jax.random.key(7)
    variables = random_variables(model)

    def train(x, positions):
        return model.apply(variables, x, train=True, positions=positions, rngs={"dropout": key})

    train = jax.jit(train, compiler_options=QUICKLY)
    whole = train(x, jnp.arange(6))
    np.testing.assert_allclose(whole[3:], train(x[3:], jnp.arange(3, 6)), rtol=1e-4, atol=1e-5)
    assert relative_error(whole, train(x, jnp.arange(6) + 6)) > 0.01


def training_loss(pair):
    _, _, model, variables = pair
    model, x = model.clone(drop_path_rate=0.1, dropout_rate=0.1), images((2, 64, 64, 3))

    def loss(params):
        both = {**variables, "params": params}
        rngs = {"dropout": jax.random.key(0)}
        logits, _ = model.apply(both, x, train=True, mutable=["batch_stats"], rngs=rngs)
        return jnp.square(logits).mean()

    return loss, variables["params"]


def test_networks_can_be_differentiated_in_training(pair):
    loss, params = training_loss(pair)
    found = jax.eval_shape(jax.grad(loss), params)
    assert jax.tree.structure(found) == jax.tree.structure(params)


@pytest.mark.slow
def test_gradients_equal_timm(pair):
    """In float64: in float32, ReLU and the maximum take other branches here and there."""
    name, oracle, model, variables = pair
    depths, oracle = SHALLOW[name][0], copy.deepcopy(oracle).double()
    x = images((2, *SHALLOW[name][1], 3))
    (oracle(to_nchw(x).double()) ** 2).sum().backward()
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), variables)
        model = model.clone(dtype=jnp.float64)
        found = jax.jit(jax.grad(lambda v: (model.apply(v, x) ** 2).sum()))(wide)
    named = to_torch(name, jax.tree.map(np.asarray, found), stage_depths=depths)
    for key, value in oracle.named_parameters():
        expected = value.grad.numpy()
        # Biases of keys, and of norms before pooling, have no effect.
        scale = max(np.abs(expected).max(), 1e-6)
        assert np.abs(named[key] - expected).max() < 1e-7 * scale, key


@pytest.mark.slow
def test_gradients_reach_every_parameter(pair):
    loss, params = training_loss(pair)
    gradients = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        if pair[0] == "poolformer_s12" and "['norm1']['bias']" in name:
            continue  # pooling removes constants
        assert 0 < np.abs(leaf).max() < np.inf, name


@pytest.mark.parametrize("remat", [True, "mixer"])
def test_recomputed_blocks_have_the_same_gradients(remat):
    options = {"num_classes": 5, "stage_depths": (2,), "drop_path_rate": 0.5, "dropout_rate": 0.3}
    model, x = create_model("deit_small", **options), images((4, 32, 32, 3))

    def gradients(model):
        def loss(v):
            return model.apply(v, x, train=True, rngs={"dropout": jax.random.key(7)}).var()

        return jax.jit(jax.grad(loss), compiler_options=QUICKLY)(variables)

    variables = random_variables(model)
    plain, recomputed = gradients(model), gradients(model.clone(remat=remat))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(a).max() + 1e-8)
        assert np.abs(a).max() > 0


@pytest.mark.slow
def test_bfloat16_stays_near_and_gives_float32(pair):
    name, _, model, variables = pair
    x = images((2, *SHALLOW[name][1], 3))
    found = logits(model.clone(dtype=jnp.bfloat16), variables, x)
    assert found.dtype == jnp.float32
    assert 1e-6 < relative_error(found, logits(model, variables, x)) < 0.1


def test_deployed_networks_are_not_trained_and_need_statistics():
    model = create_model("resnet50", num_classes=5, stage_depths=(1, 1, 1, 1))
    variables = random_variables(model)
    small, folded = deploy(model, variables)
    assert deploy(small, folded) == (small, folded)
    with pytest.raises(UserError, match="no norms left"):
        jax.eval_shape(lambda v: small.apply(v, images((2, 32, 32, 3)), train=True), folded)
    with pytest.raises(UserError, match="statistics"):
        deploy(model, {"params": variables["params"]})


def test_state_dicts_survive_conversion_and_load_strictly(pair):
    import torch

    name, oracle, _, variables = pair
    before = state(oracle)
    state_dict = to_torch(name, variables, stage_depths=SHALLOW[name][0])
    oracle.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict.items()}, strict=True)
    assert_identical(state(oracle), before)
