"""Parameters of detectors and their parts are exact, and FLOPs round to every printed figure.

FLOPs are of one image of 800 × 1280 pixels, 1,000 regions in each box head and 100 in each mask
head; RoIAlign, suppression and softmax are free. All figures follow from the rules of mmcv's
counter: multiply-accumulates; 1 for each output of a convolution with bias and of a ReLU, and for
each input of a pooling; 2 for each output of a BatchNorm or LayerNorm, but nothing for a
SyncBatchNorm, which Cascade's box heads have, nor for classes that ConvNeXt and VanillaNet define
themselves. Those of Swin-T, -S and -B include attention's products, that of Swin-L does not.
"""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import inceptionnext_jax as inx
from benchmarks import zoo
from inceptionnext_jax.models.counts import SYSTEMS_FILE, read_counts
from inceptionnext_jax.models.layers.conv_norm import ConvNorm
from inceptionnext_jax.models.layers.norm import BatchNorm, LayerNorm
from inceptionnext_jax.models.macs import count_macs
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.models.resnet import Bottleneck, Stem

SIZE = (800, 1280)
POSITIONS = [64_000, 16_000, 4_000, 1_000, 260, 70]  # of P2 to P7
CASCADE = "cascade_mask_rcnn_"
PARTS = {
    "mask_rcnn": {"rpn_head": 593_935, "bbox_head": 14_306_705, "mask_head": 2_643_280},
    "cascade_mask_rcnn": {
        "rpn_head": 593_935,
        **{f"bbox_head_{i}": 15_618_449 for i in range(3)},
        **{f"mask_head_{i}": 2_643_280 for i in range(3)},
    },
    "retinanet": {"retina_head": 6_463_220},
}
# Name, parameters, billions of multiply-accumulates, the papers' millions and billions. ConvNeXt:
# Table 3 and the authors' repository; Swin: its repository, -L without parameters; ResNet and
# ResNeXt: Table 3 and Swin's paper.
PRINTED = [
    ("mask_rcnn_convnext_tiny", 48_095_376, "261.90", "48", "262"),
    (f"{CASCADE}convnext_tiny", 85_930_578, "740.15", "86", "741"),
    (f"{CASCADE}convnext_small", 107_565_138, "826.44", "108", "827"),
    (f"{CASCADE}convnext_base", 145_800_242, "963.57", "146", "964"),
    (f"{CASCADE}convnext_large", 254_710_770, "1353.41", "255", "1354"),
    (f"{CASCADE}convnext_xlarge", 406_875_058, "1897.40", "407", "1898"),
    ("mask_rcnn_swin_tiny", 47_794_602, "263.45", "48", "267"),
    (f"{CASCADE}swin_tiny", 85_629_804, "741.70", "86", "745"),
    (f"{CASCADE}swin_small", 106_947_708, "831.62", "107", "838"),
    (f"{CASCADE}swin_base", 144_977_002, "974.32", "145", "982"),
    (f"{CASCADE}swin_large", 253_475_910, "1381.10", "253", "1382"),
    (f"{CASCADE}resnet50", 82_231_538, "737.57", "82", "739"),
    (f"{CASCADE}resnext101_32x4d", 100_852_210, "816.77", "101", "819"),
    (f"{CASCADE}resnext101_64x4d", 140_129_778, "969.63", "140", "972"),
]
# Trained parameters, those of the deployed form, its billions of multiply-accumulates without
# depthwise products, and the repository's figures of the deployed form.
VANILLANET = [
    ("mask_rcnn_vanillanet_13", 125_260_016, 77_150_960, "420.22", "77.1", "420.7"),
    ("retinanet_vanillanet_13", 123_485_428, 75_376_372, "396.48", "75.4", "396.9"),
]
# In no paper.
UNPUBLISHED = [
    ("mask_rcnn_inceptionnext_tiny", 44_248_200, "256.39"),
    (f"{CASCADE}inceptionnext_tiny", 82_083_402, "734.64"),
    ("retinanet_inceptionnext_tiny", 34_912_396, "237.46"),
    ("retinanet_convnext_tiny", 38_759_572, "242.98"),
]


def traced(name, **options):
    return with_options(inx.create_model(name, **options), scan=True)


def giga(count):
    return f"{count / 1e9:.2f}"


def shapes(model):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def parts(model):
    params = shapes(model)["params"]
    return {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}


@pytest.mark.parametrize("kind", PARTS)
def test_each_head_has_the_parameters_counted_by_hand(kind):
    found = parts(traced(f"{kind}_convnext_tiny"))
    wanted = dict(PARTS[kind])
    lateral, levels = 1440, 4
    if kind == "retinanet":
        lateral, levels = 1440 - 96, 3
    wanted["neck"] = (lateral + levels) * 256 + levels * (9 * 256**2 + 256)
    if kind == "retinanet":  # P6 reads the backbone's last map
        wanted["neck"] += 9 * 768 * 256 + 256 + 9 * 256**2 + 256
    assert found.pop("backbone") + found.pop("out_norm") == 27_821_472
    assert found == wanted


@pytest.mark.parametrize(("name", "params", "macs"), UNPUBLISHED)
def test_counts_of_detectors_that_no_paper_has(name, params, macs):
    info = inx.model_info(name)
    assert (info.counted_at, info.params, giga(info.macs)) == (SIZE, params, macs)


@pytest.mark.parametrize(("name", "params", "macs", "millions", "billions"), PRINTED)
def test_flops_as_mmcv_counts_them_round_to_the_printed_figures(
    name, params, macs, millions, billions
):
    info = inx.model_info(name)
    assert (info.counted_at, info.params, giga(info.macs)) == (SIZE, params, macs)
    assert f"{params / 1e6:.0f}" == millions
    family = "convnext" if "convnext" in name else "swin" if "swin" in name else "resnet"
    flops = info.macs + EXTRAS[family](inx.create_model(name).backbone) + of_heads(name)
    if family == "swin" and not name.endswith("large"):
        flops += info.macs_of_attention
    assert f"{flops / 1e9:.0f}" == billions


@pytest.mark.parametrize(("name", "params", "deployed", "macs", "millions", "billions"), VANILLANET)
def test_vanillanet_deployed_without_depthwise_products_has_the_printed_figures(
    name, params, deployed, macs, millions, billions
):
    model = inx.create_model(name, act_num=4)
    assert sum(parts(model).values()) == params
    small = with_options(model, is_deployed=True)
    assert sum(parts(small).values()) == deployed
    assert abs(deployed / 1e6 - float(millions)) < 0.052  # 77.151 is printed as 77.1
    places, dims = POSITIONS[:4], (512, 1024, 2048, 4096)
    activations = sum(
        n * c * layers for n, c, layers in zip(places, dims, (2, 1, 7, 2), strict=True)
    )
    found = count_macs(small, SIZE) - 81 * activations
    assert giga(found) == macs
    # Biases of the stem and of each layer, and the inputs of poolings, before which they are.
    biases = 2 * places[0] * dims[0] + places[0] * dims[1] + places[1] * dims[2]
    biases += 6 * places[2] * dims[2] + places[2] * dims[3] + places[3] * dims[3]
    pooled = places[0] * dims[1] + places[1] * dims[2] + places[2] * dims[3]
    assert f"{(found + biases + pooled + of_heads(name)) / 1e9:.1f}" == billions


def test_trained_and_deployed_vanillanets_are_listed():
    """With n = 3, the models' default: 32 · 24,576 parameters of activations less."""
    for name, params, deployed, *_ in VANILLANET:
        info = inx.model_info(name)
        less = 32 * 24_576
        assert (info.params, info.deploy_params) == (params - less, deployed - less)


def of_heads(name):
    """What mmcv adds to the multiply-accumulates of necks and heads."""
    laterals = sum(POSITIONS[1:4]) if name.startswith("retina") else sum(POSITIONS[:4])
    neck = 2 * 256 * laterals
    if name.startswith("retina"):
        places = sum(POSITIONS[1:])
        towers = 2 * 4 * 256 * places  # convolutions, each with ReLU
        return neck + 256 * (260 + 70) + 2 * towers + (9 * 80 + 36) * places
    rpn = (256 + 3 + 12) * sum(POSITIONS[:5])
    cells = 100 * 14**2
    mask = 4 * 2 * 256 * cells + 2 * 256 * 4 * cells + 80 * 4 * cells
    if name.startswith("mask_rcnn"):
        return neck + rpn + 2 * 1024 * 1000 + mask
    box = 4 * 256 * 7**2 * 1000 + 1024 * 1000
    return neck + rpn + 3 * (box + mask)


def of_convnext(backbone):
    """Biases of depthwise convolutions, downsamplings and the stem; others are linear layers."""
    layers = zip(POSITIONS[:4], backbone.stage_dims, backbone.stage_depths, strict=True)
    return sum(n * c * (depth + 1) for n, c, depth in layers)


def of_modules(backbone):
    """Norms, ReLUs and pooling of ResNets, and Swin's norms."""
    total = 0

    def cost(module, size):
        if isinstance(module, BatchNorm | LayerNorm):
            return 2 * size
        if isinstance(module, ConvNorm):
            return size if module.act else 0
        return {Bottleneck: size, Stem: 4 * size}.get(type(module), 0)

    def add(call, args, kwargs, context):
        nonlocal total
        result = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(result, jax.Array):
            total += cost(context.module, result.size)
        return result

    variables = shapes(backbone)
    image = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    with nn.intercept_methods(add):
        jax.eval_shape(lambda v, x: backbone.apply(v, x, method="features"), variables, image)
    return total


def of_swin(backbone):
    """Norms, those of the four maps too, and the bias of the stem."""
    maps = sum(n * c for n, c in zip(POSITIONS[:4], backbone.stage_dims, strict=True))
    return of_modules(backbone) + 2 * maps + POSITIONS[0] * backbone.stage_dims[0]


EXTRAS = {"convnext": of_convnext, "swin": of_swin, "resnet": of_modules}


def test_region_heads_count_their_regions_and_not_how_these_are_found():
    count = {}
    for impl in ("dense", "tiled"):
        model = traced("mask_rcnn_convnext_atto", roi_align_impl=impl)
        count[impl] = [count_macs(model, SIZE, attention=products) for products in (False, True)]
    assert count["dense"] == count["tiled"]
    assert len(set(count["dense"])) == 1
    fewer = traced("mask_rcnn_convnext_atto", proposals=900)
    of_region = 49 * 256 * 1024 + 1024**2 + 1024 * (81 + 320)
    assert count["dense"][0] - count_macs(fewer, SIZE) == 100 * of_region


@pytest.mark.parametrize("name", ["retinanet_resnet50", "mask_rcnn_vanillanet_6"])
def test_stored_counts_equal_a_trace(name):
    assert read_counts(SYSTEMS_FILE)[name] == zoo.count(name)
