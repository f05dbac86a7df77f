"""Systems by name: their maps, parameters, options, and randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax import trees
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.models.registry import PYRAMID, system_names
from inceptionnext_jax.models.stacking import stack_blocks
from inceptionnext_jax.train.layer_decay import layer_factors
from inceptionnext_jax.train.optimizer import DECAY_RULES
from tests.models.oracle import images, random_variables, relative_error

ATTO = "upernet_inceptionnext_atto"
SMALL = {"num_classes": 5, "stage_depths": (1, 1, 2, 1), "channels": 16}
KEY = jax.random.key(5)


def shapes_of(name, size=(64, 96), **options):
    """Returns the shapes of a system's logits and variables."""
    model = inx.create_model(name, **options)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), image)


def one_block_each(backbone):
    return tuple(1 for _ in inx.model_info(backbone).stage_depths)


@pytest.mark.parametrize("backbone", inx.list_models())
def test_declared_strides_are_those_of_the_features(backbone):
    model = inx.create_model(backbone, stage_depths=one_block_each(backbone))
    image = jax.ShapeDtypeStruct((1, 192, 192, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    apply = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, image)
    found = tuple(192 // x.shape[1] for x in apply)
    declared = inx.model_info(backbone).feature_strides
    assert declared == (PYRAMID if found == PYRAMID else ())


@pytest.mark.parametrize(
    "backbone",
    ["inceptionnext_atto", "convnext_atto", "vanillanet_5", "vanillanet_8", "swin_tiny",
     "resnet50", "regnety_4g", "poolformer_s12", "roadmap_12_layer_norm"],
)  # fmt: skip
def test_every_kind_of_backbone_makes_both_systems(backbone):
    options = {"num_classes": 7, "stage_depths": one_block_each(backbone)}
    features = jax.eval_shape(
        inx.create_model(backbone, **options).init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32),
    )["params"]
    for kind, others in (
        ("upernet", {"decode_head", "auxiliary_head"}),
        ("semantic_fpn", {"neck", "decode_head"}),
    ):
        logits, variables = shapes_of(f"{kind}_{backbone}", **options)
        assert (logits.shape, logits.dtype) == ((2, 16, 24, 7), jnp.float32)
        params = dict(variables["params"])
        has_norms = backbone.split("_")[0] in ("convnext", "swin", "poolformer")
        assert set(params) == {"backbone", *others} | ({"out_norm"} if has_norms else set())
        inner = jax.tree.map(lambda x: x.shape, params["backbone"])
        assert inner == (
            {k: jax.tree.map(lambda x: x.shape, v) for k, v in features.items() if k != "head"}
        )


def test_systems_are_listed_where_no_classifier_matches():
    assert "upernet_inceptionnext_tiny" in inx.list_models("upernet_*")
    assert inx.list_models("semantic_fpn_swin*") == (
        [
            f"semantic_fpn_swin_{size}"
            for size in ("base", "base_384", "large", "large_384", "small", "tiny")
        ]
    )
    assert not set(inx.list_models("*")) & set(system_names())
    assert not set(inx.list_models("*_tiny")) & set(system_names())
    assert set(inx.list_models("*upernet*")) < set(system_names())


def test_facts_are_those_of_the_system():
    info = inx.model_info("upernet_inceptionnext_tiny")
    assert (info.name, info.input_size, info.counted_at) == (
        ("upernet_inceptionnext_tiny", 512, (512, 2048))
    )
    assert info.stage_depths == (3, 3, 9, 3)
    assert info.params == 56_395_460


def test_a_misspelt_backbone_gets_a_suggestion():
    for function in (inx.create_model, inx.model_info):
        with pytest.raises(UserError, match="did you mean upernet_inceptionnext_tiny"):
            function("upernet_inceptionnext_tny")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_classes", 0),
        ("channels", 1.5),
        ("dropout_rate", 1.0),
        ("aux_head", 1),
        ("out_norm", "btach"),
        ("drop_path_rate", -0.1),
        ("output_stride", 4),
        ("head", "mlp"),
        ("chanels", 64),
    ],
)
def test_values_that_a_system_cannot_have_are_refused_by_name(option, value):
    with pytest.raises(UserError, match=option):
        inx.create_model(ATTO, **{option: value})


def test_options_of_systems_are_unknown_to_classifiers_and_to_other_systems():
    with pytest.raises(UserError, match="'channels' is unknown"):
        inx.create_model("inceptionnext_atto", channels=64)
    with pytest.raises(UserError, match="'aux_head' is unknown"):
        inx.create_model("semantic_fpn_inceptionnext_atto", aux_head=True)


def test_systems_are_equal_and_hashable_when_their_options_are():
    for norm in (None, "layer", "group"):
        first, second = (inx.create_model(ATTO, out_norm=norm, **SMALL) for _ in "ab")
        assert first == second
        assert hash(first) == hash(second)


def test_backbone_options_reach_the_backbone():
    model = inx.create_model(
        ATTO, drop_path_rate=0.2, output_stride=8, depthwise_impl="shift", remat="dots",
        bn_group_size=4, dtype="bfloat16", dropout_rate=0.3,
    )  # fmt: skip
    body = model.backbone
    assert (body.drop_path_rate, body.output_stride, body.depthwise_impl) == (0.2, 8, "shift")
    assert (body.remat, body.bn_group_size, body.dtype) == ("dots", 4, jnp.bfloat16)
    assert (model.bn_group_size, model.dtype, model.dropout_rate) == (4, jnp.bfloat16, 0.3)
    assert body.dropout_rate == 0
    assert with_options(model, depthwise_impl="conv").backbone.depthwise_impl == "conv"


@pytest.mark.parametrize("kind", ["upernet", "semantic_fpn"])
def test_dilated_backbones_keep_the_resolution(kind):
    name = f"{kind}_inceptionnext_atto"
    plain, dilated = (shapes_of(name, output_stride=s, **SMALL) for s in (32, 8))
    assert dilated[0].shape == plain[0].shape
    assert jax.tree.map(lambda x: x.shape, dilated[1]["params"]["backbone"]) == (
        jax.tree.map(lambda x: x.shape, plain[1]["params"]["backbone"])
    )


@pytest.fixture(scope="module")
def system():
    model = inx.create_model(ATTO, **SMALL, drop_path_rate=0.5, dropout_rate=0.5)
    return model, jax.tree.map(jnp.asarray, random_variables(model))


def trained(model, variables, x, positions=None, key=KEY):
    @jax.jit
    def heads(variables, x, positions):
        return model.apply(
            variables, x, True, positions, method="heads",
            rngs={"dropout": key}, mutable="batch_stats",
        )  # fmt: skip

    return heads(variables, x, positions)


def test_the_call_gives_the_decode_heads_logits(system):
    model, variables = system
    x = images((2, 67, 90, 3))
    logits = model.apply(variables, x)
    both = model.apply(variables, x, method="heads")
    assert set(both) == {"decode", "auxiliary"}
    np.testing.assert_array_equal(logits, both["decode"])
    assert (logits.shape, both["auxiliary"].shape) == ((2, 16, 22, 5), (2, 4, 5, 5))


def test_masks_follow_the_position_in_the_global_batch(system):
    model, variables = system
    model = with_options(model, bn_group_size=2)
    x = np.repeat(images((1, 64, 64, 3)), 4, 0)  # equal images, so that only masks differ
    whole, _ = trained(model, variables, x)
    assert np.abs(np.diff(whole["decode"], axis=0)).max(axis=(1, 2, 3)).min() > 1e-3
    later, _ = trained(model, variables, x[:2], jnp.asarray([2, 3]))
    for head in ("decode", "auxiliary"):
        assert relative_error(later[head], np.asarray(whole[head][2:])) < 1e-5
    other, _ = trained(model, variables, x, key=jax.random.key(6))
    assert relative_error(other["decode"], np.asarray(whole["decode"])) > 1e-2


def test_loops_and_recomputation_give_the_same_training_step(system):
    model, variables = system
    x = images((2, 64, 64, 3))
    expected, moved = trained(model, variables, x)
    changed = with_options(model, scan=True, remat="full")
    found, stacked = trained(changed, stack_blocks(variables), x)
    assert relative_error(found["decode"], np.asarray(expected["decode"])) < 1e-4
    assert jax.tree.structure(stack_blocks(moved)) == jax.tree.structure(stacked)


def test_half_precision_computes_float32_logits_near_the_exact_ones(system):
    model, variables = system
    x = images((1, 64, 64, 3))
    expected = model.apply(variables, x)
    half = inx.create_model(ATTO, **SMALL, dtype="bfloat16")
    found = half.apply(variables, x)
    assert found.dtype == jnp.float32
    assert relative_error(found, np.asarray(expected)) < 0.1


def test_one_image_in_a_group_is_refused_in_training(system):
    model, variables = system
    with pytest.raises(UserError, match="at least 2 images"):
        trained(model, variables, images((1, 64, 64, 3)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (ATTO, {}),
        (ATTO, {"out_norm": "batch"}),
        ("semantic_fpn_convnext_atto", {}),
        ("upernet_vanillanet_5", {"stage_depths": (1, 1, 1), "width": 0.0625}),
        ("semantic_fpn_poolformer_s12", {"stage_depths": (1, 1, 1, 1)}),
    ],
)
def test_the_deployed_system_gives_the_same_logits(name, options):
    model = inx.create_model(name, **{**SMALL, **options})
    variables = random_variables(model)
    if "host" in variables:
        variables["host"] = jax.tree.map(np.ones_like, variables["host"])
    smaller, folded = deploy(model, variables)
    x = images((1, 64, 96, 3))
    expected = jax.jit(model.apply)(variables, x)
    assert relative_error(jax.jit(smaller.apply)(folded, x), np.asarray(expected)) < 1e-4
    paths = trees.paths(folded["params"])
    assert len(paths) < len(trees.paths(variables["params"]))
    assert not [path for path in paths if "head/" in path and "/norm/" in path]


def test_deploying_without_running_statistics_is_refused():
    model = inx.create_model("upernet_convnext_atto", **SMALL)
    with pytest.raises(UserError, match="running statistics of BatchNorm"):
        deploy(model, {"params": random_variables(model)["params"]})


@pytest.mark.parametrize("kind", ["upernet", "semantic_fpn"])
@pytest.mark.parametrize(
    "backbone", ["inceptionnext_tiny", "convnext_tiny", "vanillanet_5", "swin_tiny", "resnet50",
                 "regnety_4g", "poolformer_s12"],
)  # fmt: skip
def test_kernels_alone_decay_in_every_part_of_a_system(kind, backbone):
    """ConvNeXt's rule for dense tasks: nothing of one dimension decays, nor position tables."""
    options = {"stage_depths": one_block_each(backbone), "out_norm": "batch"}
    _, variables = shapes_of(f"{kind}_{backbone}", **options)
    params = variables["params"]
    decays = dict(trees.paths_and_leaves(trees.by_rules(params, DECAY_RULES, "weight decay")))
    shapes = {path: leaf.shape for path, leaf in trees.paths_and_leaves(params)}
    assert decays == {
        path: len(shape) > 1 and not path.endswith("relative_position_bias_table")
        for path, shape in shapes.items()
    }
    assert {path.split("/")[0] for path, decay in decays.items() if decay} == (
        {part for part in params if part != "out_norm"}
    )


def test_layer_decay_covers_the_backbone_of_every_family():
    for backbone in ("inceptionnext_tiny", "convnext_tiny", "swin_tiny", "resnet50"):
        name = f"upernet_{backbone}"
        _, variables = shapes_of(name, stage_depths=one_block_each(backbone))
        paths = trees.paths(variables["params"])
        factors = layer_factors(inx.model_info(name).family, paths, 0.5, body="backbone/")
        assert factors["decode_head/conv_seg/kernel"] == 1
        assert factors["backbone/stem/conv/kernel" if "resnet" not in backbone else
                       "backbone/stem/conv/conv/kernel"] < 0.1  # fmt: skip
