"""Each mixer against PyTorch: timm's layers, or the papers' definitions restated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layers.token_mixers import TOKEN_MIXERS, Attention, InceptionDWConv
from inceptionnext_jax.models.layers.token_mixers import PartialDepthwiseConv as Partial
from tests.models.oracle import images, random_variables, relative_error, to_nchw

KEY = jax.random.key(0)


def drawn(module, x, seed=3):
    """Returns random parameters, large enough that each affects the output."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, KEY, x)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


def convolved(x, params):
    """Returns PyTorch's padded depthwise convolution of NCHW x with our parameters."""
    import torch

    weight = torch.from_numpy(np.ascontiguousarray(params["kernel"].transpose(3, 2, 0, 1)))
    padding = tuple(k // 2 for k in weight.shape[2:])
    bias = torch.from_numpy(params["bias"])
    return torch.nn.functional.conv2d(x, weight, bias, padding=padding, groups=len(weight))


def nhwc(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("ratio", [1, 3 / 8, 1 / 16])
def test_partial_convolution_leaves_the_first_channels(timm, ratio):
    import torch

    x = images((2, 9, 14, 32))
    mixer = Partial(kernel_size=3, ratio=ratio)
    variables = drawn(mixer, x)
    width = int(32 * ratio)
    kept, last = torch.split(to_nchw(x), [32 - width, width], dim=1)
    expected = torch.cat([kept, convolved(last, variables["params"])], dim=1)
    assert relative_error(mixer.apply(variables, x), nhwc(expected)) < 1e-5


@pytest.mark.parametrize("removed", ["dwconv_hw", "dwconv_w", "dwconv_h"])
def test_channels_of_a_removed_branch_pass_unchanged(timm, removed):
    import torch

    x = images((2, 9, 14, 16))
    branches = tuple(b for b in ("dwconv_hw", "dwconv_w", "dwconv_h") if b != removed)
    mixer = InceptionDWConv(kernel_size=5, branches=branches)
    variables = drawn(mixer, x)
    kept, first, second = torch.split(to_nchw(x), [12, 2, 2], dim=1)
    params = variables["params"]
    parts = [kept, convolved(first, params[branches[0]]), convolved(second, params[branches[1]])]
    assert relative_error(mixer.apply(variables, x), nhwc(torch.cat(parts, dim=1))) < 1e-5


def test_bands_in_sequence_share_one_branch(timm):
    import torch

    x = images((2, 9, 14, 16))
    mixer = InceptionDWConv(kernel_size=5, sequential=True)
    variables = drawn(mixer, x)
    params = variables["params"]
    kept, square, bands = torch.split(to_nchw(x), [12, 2, 2], dim=1)
    bands = convolved(convolved(bands, params["dwconv_w"]), params["dwconv_h"])
    expected = torch.cat([kept, convolved(square, params["dwconv_hw"]), bands], dim=1)
    assert relative_error(mixer.apply(variables, x), nhwc(expected)) < 1e-5


def test_attention_equals_timms(timm):
    import torch
    from timm.layers import Attention as Oracle

    x = images((2, 3, 5, 128))
    oracle = Oracle(128, num_heads=2, qkv_bias=True).eval()
    variables = drawn(Attention(), x)
    variables = jax.tree.map(lambda leaf: 0.2 * leaf, variables)
    with torch.no_grad():
        for name in ("qkv", "proj"):
            ours, theirs = variables["params"][name], getattr(oracle, name)
            theirs.weight.copy_(torch.from_numpy(ours["kernel"].T.copy()))
            theirs.bias.copy_(torch.from_numpy(ours["bias"]))
        expected = oracle(torch.from_numpy(x.reshape(2, 15, 128))).numpy()
    assert relative_error(Attention().apply(variables, x), expected.reshape(x.shape)) < 1e-5


def test_pooling_equals_poolformers(timm):
    from timm.models.metaformer import Pooling

    x = images((2, 5, 8, 3))
    expected = nhwc(Pooling()(to_nchw(x)))
    assert relative_error(TOKEN_MIXERS["pool"]().apply({}, x), expected) < 1e-5


@pytest.mark.parametrize("mixer", sorted(TOKEN_MIXERS))
def test_every_mixer_fits_a_named_model(mixer):
    model = create_model(
        "inceptionnext_tiny", stage_depths=(1, 1, 1, 1), num_classes=3, token_mixer=mixer
    )
    if mixer == "attention":  # 64 channels per head
        model = model.clone(stage_dims=(64, 64, 64, 64))
    x = images((2, 32, 32, 3))
    variables = random_variables(model)
    scanned = model.clone(scan=True)
    assert jax.eval_shape(model.apply, variables, x).shape == (2, 3)
    jax.eval_shape(scanned.init, KEY, x)


@pytest.mark.parametrize(
    ("options", "path", "shape"),
    [
        ({"kernel_size": 5}, ("dwconv_w", "kernel"), (1, 5, 1, 12)),
        ({"mixer_ratio": 0.25}, ("dwconv_w", "kernel"), (1, 11, 1, 24)),
        ({"token_mixer": "depthwise", "kernel_size": 9}, ("kernel",), (9, 9, 1, 96)),
        ({"token_mixer": "partial_depthwise", "mixer_ratio": 0.5}, ("kernel",), (3, 3, 1, 48)),
    ],
)
def test_mixer_settings_change_the_shapes_of_a_named_model(options, path, shape):
    model = create_model("inceptionnext_tiny", stage_depths=(1, 1, 1, 1), **options)
    variables = jax.eval_shape(model.init, KEY, jnp.zeros((1, 32, 32, 3)))
    leaf = variables["params"]["stages_0"]["blocks_0"]["token_mixer"]
    for key in path:
        leaf = leaf[key]
    assert leaf.shape == shape


def test_norm_head_and_layer_scale_are_options():
    model = create_model(
        "inceptionnext_tiny",
        stage_depths=(1, 1, 1, 1), norm="layer", head="linear", layer_scale_init=0.0,
    )  # fmt: skip
    variables = jax.eval_shape(model.init, KEY, jnp.zeros((1, 32, 32, 3)))
    assert "batch_stats" not in variables
    assert set(variables["params"]["head"]) == {"norm", "fc"}
    assert "gamma" not in variables["params"]["stages_0"]["blocks_0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_mixer": "identity", "kernel_size": 3}, "Identity has no kernel_size"),
        ({"token_mixer": "depthwise", "mixer_ratio": 0.5}, "DepthwiseConv has no ratio"),
        ({"token_mixer": "partial_depthwise", "mixer_ratio": 0.001}, "convolves 0 of 96"),
        ({"token_mixer": "attention"}, "heads of 64"),
    ],
)
def test_settings_that_a_mixer_lacks_are_refused(options, message):
    model = create_model("inceptionnext_tiny", **options)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, KEY, jnp.zeros((1, 32, 32, 3)))
