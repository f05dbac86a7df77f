"""VanillaNet against PyTorch: logits, statistics, gradients, pooling, and the deployed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import inceptionnext_jax as inx
from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.layers.pool import adaptive_max_pool
from inceptionnext_jax.models.macs import count_macs, count_params
from tests.models.oracle import images, logits_of, relative_error, state, to_nchw

QUICKLY = {"xla_backend_optimization_level": 0}
# name: parameters and multiply-accumulates in training, the same deployed; counted in PyTorch on
# the authors' networks, except the training form of the last two, which follow from the layers.
COUNTS = {
    "5": (22_328_800, 8_450_519_616, 15_523_304, 5_161_185_280),
    "6": (56_116_704, 10_104_521_280, 32_509_416, 5_993_103_360),
    "7": (56_670_176, 11_827_364_416, 32_797_672, 6_893_862_912),
    "8": (65_175_520, 13_491_200_576, 37_096_424, 7_735_615_488),
    "9": (73_680_864, 15_155_036_736, 41_395_176, 8_577_368_064),
    "10": (82_186_208, 16_818_872_896, 45_693_928, 9_419_120_640),
    "11": (90_691_552, 18_482_709_056, 49_992_680, 10_260_873_216),
    "12": (99_196_896, 20_146_545_216, 54_291_432, 11_102_625_792),
    "13": (107_702_240, 21_810_381_376, 58_590_184, 11_944_378_368),
    "13_x1_5": (236_942_048, 48_745_701_952, 127_796_200, 26_548_445_184),
    "13_x1_5_ada_pool": (236_942_048, 89_966_269_504, 127_796_200, 48_982_528_512),
}
NARROW = {"width": 1 / 32, "num_classes": 5, "depthwise_impl": "conv"}  # stem of 16 channels
DIMS5, POOLS5 = (16, 32, 64, 128), (2, 2, 2)
DIMS8, POOLS8 = (16, 16, 32, 64, 64, 128, 128), (None, 2, 2, None, 2, None)
ADA_POOLS = (None, ("to", 38), ("to", 19), ("to", 10))


@pytest.fixture(scope="module")
def restated(timm):
    """The network restated in PyTorch, which only tests with timm import."""
    from tests.models import torch_vanillanet

    return torch_vanillanet


def converted(model, state_dict, slope=1.0):
    """A state dict of any width as our variables, by the table of names."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    table = family("vanillanet_5", deployed=model.is_deployed).namings[0]
    leaves = {} if model.is_deployed else {("host", "slope"): np.float32(slope)}
    for path in traverse_util.flatten_dict(shapes):
        if path not in leaves:
            key, leaf = locate(table, path[1:])
            leaves[path] = leaf.from_torch(state_dict[key])
    return traverse_util.unflatten_dict(leaves)


def apply(model, variables, x, **options):
    run = jax.jit(lambda v: model.apply(v, x, **options), compiler_options=QUICKLY)
    return run(variables)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_both_forms_are_exact(name):
    model, info = inx.create_model(f"vanillanet_{name}"), inx.model_info(f"vanillanet_{name}")
    counts = [
        count for form in (model, model.clone(is_deployed=True))
        for count in (count_params(form), count_macs(form, 224))
    ]  # fmt: skip
    assert tuple(counts) == COUNTS[name]
    assert (info.params, info.macs, info.deploy_params, info.deploy_macs) == COUNTS[name]


@pytest.mark.parametrize(("name", "sides"), [("13_x1_5", (56, 28, 14, 7)),
                                             ("13_x1_5_ada_pool", (75, 38, 19, 10))])  # fmt: skip
def test_counts_in_training_follow_from_the_layers(name, sides):
    a = 768
    dims = [a, a, 2 * a, *[4 * a] * 7, 8 * a, 8 * a]
    before = [sides[i] for i in (0, 0, 1, *[2] * 7, 3)]  # pooling is after the products
    after = [sides[i] for i in (0, 1, *[2] * 7, 3, 3)]
    macs = sides[0] ** 2 * (3 * 16 * a + a * a + 49 * a)
    for i, (side, pooled) in enumerate(zip(before, after, strict=True)):
        macs += side**2 * dims[i] * (dims[i] + dims[i + 1]) + pooled**2 * 49 * dims[i + 1]
    assert COUNTS[name][1] == macs + 1000 * dims[-1] + 1000 * 1000


@pytest.mark.parametrize(
    ("name", "dims", "pools", "size", "options"),
    [
        ("5", DIMS5, POOLS5, (70, 97), {}),
        ("8", DIMS8, POOLS8, (95, 64), {"act_num": 4}),
        ("13_x1_5_ada_pool", (16, 16, 32, 64, 128), ADA_POOLS, (224, 161), {}),
    ],
)
def test_logits_at_every_slope_equal_torchs(restated, name, dims, pools, size, options):
    stem = {"stride": 3, "padding": 1} if "ada" in name else None
    oracle = restated.make(dims, pools, n=options.get("act_num", 3), stem=stem)
    if "ada" in name:
        options = {"stage_depths": (1, 1, 1, 1)}
    model = inx.create_model(f"vanillanet_{name}", **NARROW, **options)
    x = images((2, *size, 3))
    for slope in (0.0, 0.3, 1.0):
        oracle.slope = slope
        logits = apply(model, converted(model, state(oracle), slope), x)
        assert logits.dtype == jnp.float32
        assert relative_error(logits, logits_of(oracle, x)) < 1e-5, slope


def test_statistics_and_gradients_of_a_training_step_equal_torchs(restated):
    import torch

    oracle = restated.make(DIMS5, POOLS5).train()
    oracle.slope = 0.3
    model = inx.create_model("vanillanet_5", **NARROW, remat="dots")
    variables = converted(model, state(oracle), 0.3)
    x, labels = images((6, 70, 97, 3)) + 1, np.arange(6) % 5
    expected = oracle(to_nchw(x))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()

    def loss(params):
        logits, new = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return -jax.nn.log_softmax(logits)[np.arange(6), labels].mean(), (logits, new)

    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICKLY)
    gradient, (logits, new) = step(variables["params"])
    assert relative_error(logits, expected.detach().numpy()) < 1e-4
    assert "host" not in new  # the model reads the slope and never writes it
    wanted = converted(model, state(oracle), 0.3)["batch_stats"]
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5),
        new["batch_stats"], wanted,
    )  # fmt: skip
    grads = {key: value.grad.numpy() for key, value in oracle.named_parameters()}
    theirs = converted(model, {**state(oracle), **grads})["params"]
    largest = max(np.abs(value).max() for value in grads.values())
    for ours, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(theirs), strict=True):
        assert np.abs(ours - wanted).max() < 1e-4 * largest


@pytest.mark.parametrize("impl", ["conv", "shift"])
@pytest.mark.parametrize("name", ["5", "13_x1_5_ada_pool"])
def test_trained_and_deployed_forms_give_the_same_logits(restated, name, impl):
    ada = name != "5"
    oracle = restated.make(
        (16, 16, 32, 64, 128) if ada else DIMS5,
        ADA_POOLS if ada else POOLS5,
        stem={"stride": 3, "padding": 1} if ada else None,
    )
    options = {**NARROW, "depthwise_impl": impl, "stage_depths": (1, 1, 1, 1) if ada else None}
    model = inx.create_model(f"vanillanet_{name}", **options)
    x = images((2, 70, 97, 3))
    merged, variables = deploy(model, converted(model, state(oracle)))
    assert set(variables) == {"params"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    assert deploy(merged, variables)[1] is variables
    logits = apply(merged, variables, x)
    assert relative_error(logits, logits_of(oracle, x)) < 1e-5
    oracle.slope = 0.5
    assert relative_error(logits, logits_of(oracle, x)) > 1e-2


def test_deployed_weights_load_into_the_authors_deployed_network(restated):
    import torch

    oracle = restated.make(DIMS5, POOLS5)
    model = inx.create_model("vanillanet_5", **NARROW)
    _, variables = deploy(model, converted(model, state(oracle)))
    table = family("vanillanet_5", deployed=True).namings[0]
    arrays = {}
    for path, value in traverse_util.flatten_dict(variables["params"]).items():
        key, leaf = locate(table, path)
        arrays[key] = torch.from_numpy(np.ascontiguousarray(leaf.to_torch(value)))
    plain = restated.make(DIMS5, POOLS5, deployed=True)
    plain.load_state_dict(arrays, strict=True)
    x = images((2, 64, 64, 3))
    assert relative_error(logits_of(plain, x), logits_of(oracle, x)) < 1e-5


def test_the_maps_of_the_backbone_are_those_of_the_authors_detectors(restated):
    """Their blocks 0, 1, 8 and 10 of VanillaNet-13 with n = 4 at slope 1."""
    dims = (16, 16, 32, *[64] * 7, 128, 128)
    strides = (1, 2, 2, 1, 1, 1, 1, 1, 1, 2, 1)
    oracle = restated.make(dims, [None if stride == 1 else 2 for stride in strides], n=4)
    outputs = []
    for index in (0, 1, 8, 10):
        oracle.stages[index].register_forward_hook(lambda _m, _i, out: outputs.append(out))
    x = images((1, 70, 97, 3))
    logits_of(oracle, x)
    model = inx.create_model("vanillanet_13", **NARROW, act_num=4).as_backbone()
    maps = apply(model, converted(model, state(oracle)), x, method="features")
    assert [m.shape[3] for m in maps] == [16, 32, 64, 128]
    for found, wanted in zip(maps, outputs, strict=True):
        assert relative_error(found, wanted.detach().numpy().transpose(0, 2, 3, 1)) < 1e-5


def test_the_backbone_of_the_authors_detectors_has_their_parameters():
    """Trained and deployed; Mask R-CNN adds 21,871,344 to both, RetinaNet 20,096,756."""
    model = inx.create_model("vanillanet_13", act_num=4)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    for form, wanted in ((model, 103_388_672), (model.clone(is_deployed=True), 55_279_616)):
        params = dict(jax.eval_shape(form.init, jax.random.key(0), image)["params"])
        del params["head"]
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == wanted


def test_merging_below_slope_one_is_refused():
    model = inx.create_model("vanillanet_5", **NARROW)
    with pytest.raises(UserError, match=r"slope 0\.99, and .* at slope 1 only"):
        deploy(model, {"params": {}, "batch_stats": {}, "host": {"slope": np.float32(0.99)}})


def test_deploying_without_the_slope_is_refused():
    model = inx.create_model("vanillanet_5", **NARROW)
    with pytest.raises(UserError, match="hold params, batch_stats, but the slope"):
        deploy(model, {"params": {}, "batch_stats": {}})


@pytest.mark.parametrize(("size", "out"), [((75, 75), 38), ((19, 11), 10), ((7, 8), 10)])
def test_adaptive_pooling_has_torchs_windows(timm, size, out):
    import torch

    x = images((2, *size, 3))
    theirs = torch.nn.AdaptiveMaxPool2d(out)(to_nchw(x)).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(adaptive_max_pool(x, (out, out)), theirs)


@pytest.mark.parametrize(("name", "sides"), [("5", (24, 12, 6, 3)), ("8", (24, 12, 6, 3)),
                                             ("13_x1_5_ada_pool", (32, 38, 19, 10))])  # fmt: skip
def test_features_are_the_last_map_of_each_resolution(name, sides):
    model = inx.create_model(f"vanillanet_{name}", width=1 / 32, num_classes=5)
    x = jnp.zeros((1, 96, 96, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    maps = jax.eval_shape(lambda v: model.apply(v, x, method="features"), variables)
    assert [leaf.shape for leaf in maps] == [
        (1, side, side, dim) for side, dim in zip(sides, (16, 32, 64, 128), strict=True)
    ]
    logits = jax.eval_shape(lambda v, m: model.apply(v, m, method="classify"), variables, maps[-1])
    assert logits.shape == (1, 5)


def test_dropout_masks_follow_positions():
    model = inx.create_model("vanillanet_5", **NARROW, dropout_rate=0.5)
    x = np.ones((4, 3, 3, 128), np.float32)
    key = jax.random.key(1)
    variables = jax.jit(model.init, compiler_options=QUICKLY)(key, jnp.zeros((2, 32, 32, 3)))

    def logits(positions):
        return model.apply(
            variables, x, train=True, positions=np.array(positions), method="classify",
            mutable=["batch_stats"], rngs={"dropout": key},
        )[0]  # fmt: skip

    first, turned = logits([0, 1, 2, 3]), logits([3, 2, 1, 0])
    np.testing.assert_allclose(first, turned[::-1], rtol=1e-4, atol=1e-6)
    assert np.abs(first - turned).max() > 1e-3


def test_bfloat16_logits_are_float32_and_near():
    model = inx.create_model("vanillanet_5", **NARROW)
    x = images((2, 64, 64, 3))
    variables = jax.jit(model.init, compiler_options=QUICKLY)(jax.random.key(0), x)
    low = apply(model.clone(dtype=jnp.bfloat16), variables, x)
    assert low.dtype == jnp.float32
    assert relative_error(low, np.asarray(apply(model, variables, x))) < 5e-2


@pytest.mark.parametrize("option", [{"scan": True}, {"drop_path_rate": 0.1}, {"output_stride": 8}])
def test_options_of_other_networks_are_refused_by_name(option):
    name = next(iter(option))
    with pytest.raises(UserError, match=f"vanillanet_5 has no option {name}"):
        inx.create_model("vanillanet_5", **option)


@pytest.mark.parametrize("option", [{"width": 0.0}, {"act_num": 1.5}])
def test_sizes_out_of_range_are_refused(option):
    with pytest.raises(UserError, match=next(iter(option))):
        inx.create_model("vanillanet_5", **option)
