"""BiT equals timm's: a narrow network of the same class, with the published networks' names."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.models.bit import BiT
from inceptionnext_jax.models.deploy import deploy
from tests.models.oracle import images, logits_of, randomise, relative_error, state, to_nchw

DEPTHS, DIMS = (1, 2, 1, 1), (256, 512, 1024, 2048)
TABLE = family("bit_r101x3_384").naming("timm")


@pytest.fixture(scope="module")
def pair(timm):
    """(timm's network, ours, our variables)"""
    oracle = timm.create_model("resnetv2_50x1_bit", num_classes=5)
    for stage, depth in zip(oracle.stages, DEPTHS, strict=True):
        stage.blocks = stage.blocks[:depth]
    randomise(oracle)
    model, weights = BiT(DEPTHS, stage_dims=DIMS, num_classes=5), state(oracle)

    def value(path, _):
        name, layout = locate(TABLE, tuple(part.key for part in path[1:]))
        return layout.from_torch(weights.pop(name))

    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    variables = jax.tree_util.tree_map_with_path(value, shapes)
    assert not weights
    return oracle, model, variables


@pytest.mark.parametrize("size", [(64, 64), (70, 97)])
def test_logits_equal_timm(pair, size):
    oracle, model, variables = pair
    x = images((2, *size, 3))
    assert relative_error(jax.jit(model.apply)(variables, x), logits_of(oracle, x)) < 1e-5


def test_deployed_keeps_standardised_kernels_and_equals_the_original(pair):
    _, model, variables = pair
    x = images((2, 64, 64, 3))
    small, changed = deploy(model, variables)
    kernel = changed["params"]["stages_1"]["blocks_1"]["conv2"]["kernel"]
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.std((0, 1, 2)), 1, atol=1e-4)
    assert deploy(small, changed) == (small, changed)
    before, after = model.apply(variables, x), small.apply(changed, x)
    assert relative_error(after, np.asarray(before)) < 1e-5


def test_gradients_equal_timm(pair):
    """In float64: in float32, ReLU and the maximum take other branches here and there."""
    oracle, model, variables = pair
    oracle = copy.deepcopy(oracle).double()
    x = images((2, 64, 64, 3))
    (oracle(to_nchw(x).double()) ** 2).sum().backward()
    expected = {name: value.grad.numpy() for name, value in oracle.named_parameters()}
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), variables)
        model = model.clone(dtype=jnp.float64)
        found = jax.jit(jax.grad(lambda v: (model.apply(v, x) ** 2).sum()))(wide)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        name, layout = locate(TABLE, tuple(part.key for part in path[1:]))
        assert relative_error(layout.to_torch(np.asarray(leaf)), expected[name]) < 1e-9, name


def test_features_have_strides_4_to_32(pair):
    _, model, variables = pair
    maps = jax.eval_shape(
        lambda v: model.apply(v, jnp.zeros((2, 64, 96, 3)), method="features"), variables
    )
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [m.shape for m in maps] == [
        (2, *size, dim) for size, dim in zip(sizes, DIMS, strict=True)
    ]
