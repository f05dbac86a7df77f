"""Sizes of systems: exact, and rounded to the figures that papers print under their conventions."""

import jax
import jax.numpy as jnp
import pytest

import inceptionnext_jax as inx
from benchmarks import zoo
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.counts import SYSTEMS_FILE, read_counts
from inceptionnext_jax.models.macs import count_activations, count_macs
from inceptionnext_jax.models.registry import system_names

# Parameters of each part, counted from the layers by hand.
FEATURES = {
    "inceptionnext_tiny": 23_974_296,
    "inceptionnext_small": 45_292_632,
    "inceptionnext_base": 80_444_192,
    "convnext_tiny": 27_821_472,  # with output norms
    "convnext_small": 49_456_032,
    "convnext_base": 87_568_256,
}
UPER_HEAD = {"tiny": 31_497_366, "small": 31_497_366, "base": 33_315_990}
FCN_HEAD = {"tiny": 923_798, "small": 923_798, "base": 1_218_710}
FPN = {"tiny": 2_729_984, "small": 2_729_984, "base": 2_852_864}
FPN_HEAD = 1_643_158

# System, height and width, parameters, billions of multiply-accumulates, the same with biases or
# None, and the papers' millions and billions.
INCEPTIONNEXT = [
    ("upernet_inceptionnext_tiny", (512, 2048), 56_395_460, "932.84", "933.10", "56", "933"),
    ("upernet_inceptionnext_small", (512, 2048), 77_713_796, "1019.92", "1020.33", "78", "1020"),
    ("upernet_inceptionnext_base", (512, 2048), 114_978_892, "1158.50", "1159.05", "115", "1159"),
    ("semantic_fpn_inceptionnext_tiny", (512, 512), 28_347_438, "43.54", "43.62", "28", "44"),
    ("semantic_fpn_inceptionnext_small", (512, 512), 49_665_774, "65.31", "65.43", "50", "65"),
    ("semantic_fpn_inceptionnext_base", (512, 512), 84_940_214, "99.44", "99.58", "85", "100"),
]
CONVNEXT = [
    ("upernet_convnext_tiny", (512, 2048), 60_242_636, "938.49", "938.92", "60", "939"),
    ("upernet_convnext_small", (512, 2048), 81_877_196, "1026.85", "1027.31", "82", "1027"),
    ("upernet_convnext_base", (512, 2048), 122_102_956, "1169.34", "1169.84", "122", "1170"),
    ("upernet_convnext_base", (640, 2560), 122_102_956, "1827.09", "1827.86", "122", "1828"),
    ("upernet_convnext_large", (640, 2560), 234_994_796, "2457.36", "2458.22", "235", "2458"),
    ("upernet_convnext_xlarge", (640, 2560), 391_140_396, "3334.25", "3335.21", "391", "3335"),
]


def traced(name):
    return inx.create_model(name, scan=True)


def giga(count):
    return f"{count / 1e9:.2f}"


def head_convolutions(name, height, width):
    """Outputs of UperNet's and Semantic FPN's convolutions with BatchNorm, which have no bias."""
    positions = [height * width // stride**2 for stride in (4, 8, 16, 32)]
    if name.startswith("upernet"):
        pooled = 1 + 4 + 9 + 36
        laterals = levels = sum(positions[:3])
        return 512 * (pooled + positions[3] + laterals + levels + positions[0])
    doubled = (positions[0], positions[1], sum(positions[1:3]), sum(positions[1:]))
    return 128 * sum(doubled)


@pytest.mark.parametrize(("name", "size", "params", "macs", "biased", "millions", "billions"),
                         INCEPTIONNEXT)  # fmt: skip
def test_inceptionnext_with_an_operation_for_each_bias_rounds_to_the_printed_figures(
    name, size, params, macs, biased, millions, billions
):
    info = inx.model_info(name)
    assert (info.counted_at, info.params) == (size, params)
    assert giga(info.macs) == macs
    with_biases = info.macs + info.activations - head_convolutions(name, *size)
    if name.endswith("tiny"):  # the others differ in depth and width only
        assert with_biases == count_macs(traced(name), size, biases=True)
    assert giga(with_biases) == biased
    assert f"{params / 1e6:.0f}" == millions
    assert f"{with_biases / 1e9:.0f}" == billions


@pytest.mark.parametrize(("name", "size", "params", "macs", "mmcv", "millions", "billions"),
                         CONVNEXT)  # fmt: skip
def test_convnext_as_mmcv_counts_it_rounds_to_the_printed_figures(
    name, size, params, macs, mmcv, millions, billions
):
    info, model = inx.model_info(name), traced(name)
    assert info.params == params
    found = count_macs(model, size)
    assert giga(found) == macs
    if size == info.counted_at:
        assert found == info.macs
    # mmcv: biases of convolutions but not of linear layers, 2 for BatchNorm and 1 for ReLU at each
    # position, 1 for each pooled value and pooling.
    height, width = size
    depths, dims = info.stage_depths, [norm_dim(model, i) for i in range(4)]
    positions = [height * width // stride**2 for stride in (4, 8, 16, 32)]
    convolutions = sum(
        n * c * (depth + 1) for n, c, depth in zip(positions, dims, depths, strict=True)
    )
    classifier, pooling = 150 * positions[0], 4 * dims[3] * positions[3]
    extra = convolutions + classifier + pooling + 3 * head_convolutions(name, *size)
    assert giga(found + extra) == mmcv
    assert f"{params / 1e6:.0f}" == millions
    assert f"{(found + extra) / 1e9:.0f}" == billions


def norm_dim(model, index):
    return model.backbone.stage_dims[index]


@pytest.mark.parametrize("backbone", FEATURES)
def test_each_part_has_the_parameters_counted_by_hand(backbone):
    size = backbone.rpartition("_")[2]
    parts = count_parts(f"upernet_{backbone}")
    assert parts.pop("decode_head") == UPER_HEAD[size]
    assert parts.pop("auxiliary_head") == FCN_HEAD[size]
    assert sum(parts.values()) == FEATURES[backbone]
    parts = count_parts(f"semantic_fpn_{backbone}")
    assert parts.pop("neck") == FPN[size]
    assert parts.pop("decode_head") == FPN_HEAD
    assert sum(parts.values()) == FEATURES[backbone]


def count_parts(name):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(traced(name).init, jax.random.key(0), image)["params"]
    return {part: sum(x.size for x in jax.tree.leaves(tree)) for part, tree in params.items()}


def test_a_norm_for_each_output_adds_its_scale_and_bias():
    plain = sum(count_parts("upernet_inceptionnext_tiny").values())
    model = inx.create_model("upernet_inceptionnext_tiny", out_norm="batch", scan=True)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) - plain == 2_880


def test_the_auxiliary_head_and_resizing_are_not_in_the_multiply_accumulates():
    with_head = inx.create_model("upernet_inceptionnext_atto", scan=True)
    without = inx.create_model("upernet_inceptionnext_atto", scan=True, aux_head=False)
    assert count_macs(with_head, 64) == count_macs(without, 64)
    assert count_activations(with_head, 64) == count_activations(without, 64)


def test_all_systems_have_stored_counts():
    hint = "run `python -m benchmarks.zoo` and commit the files it writes"
    assert sorted(read_counts(SYSTEMS_FILE)) == system_names(), hint


@pytest.mark.parametrize("name", ["upernet_swin_tiny", "semantic_fpn_vanillanet_6"])
def test_stored_counts_equal_a_trace(name):
    assert read_counts(SYSTEMS_FILE)[name] == zoo.count(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", system_names())
def test_all_stored_counts_equal_a_trace(name):
    assert read_counts(SYSTEMS_FILE)[name] == zoo.count(name)
    jax.clear_caches()


def test_a_backbone_without_four_maps_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"upernet needs maps at strides 4, 8, 16, 32.*deit_small"):
        inx.create_model("upernet_deit_small")
