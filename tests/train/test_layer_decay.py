"""Layer-wise rates against timm's parameter groups and the published tables."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import inceptionnext_jax as inx
from inceptionnext_jax import trees
from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import unstack_blocks
from inceptionnext_jax.train.layer_decay import layer_factors
from inceptionnext_jax.train.optimizer import make_optimizer
from tests.train.test_optimizer import optim

# Ours -> timm's.
TIMMS = {
    "inceptionnext_atto": "inception_next_atto",
    "inceptionnext_small": "inception_next_small",
    "convnext_atto": "convnext_atto",
    "convnext_tiny": "convnext_tiny",
    "resnet50": "resnet50",
    "regnety_4g": "regnety_040",
    "deit_small": "deit_small_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}


def factors(name: str, scan: bool = False, **changes):
    model = inx.create_model(name, scan=scan)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    return shapes, make_optimizer(optim(**changes), shapes, name).rate_factors


@pytest.mark.parametrize("name", TIMMS)
def test_every_factor_equals_timms_scale(timm, name):
    import torch
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        reference = timm.create_model(TIMMS[name])
    groups = param_groups_layer_decay(reference, layer_decay=0.8)
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    wanted = {key: scales[id(p)] for key, p in reference.named_parameters()}

    ours = dict(trees.paths_and_leaves(factors(name, layer_decay=0.8)[1]))
    table = family(name).namings[0]
    named = {locate(table, tuple(path.split("/")))[0]: f for path, f in ours.items()}
    assert named == pytest.approx(wanted, rel=1e-12)
    assert len(set(wanted.values())) == sum(inx.model_info(name).stage_depths) + 2


def test_stacked_parameters_have_the_factors_of_plain_ones():
    changes = {"layer_decay": 0.7, "freeze": "stages_2/blocks_1/", "lr_mult": (("^head/", 5.0),)}
    _, plain = factors("inceptionnext_atto", **changes)
    shapes, stacked = factors("inceptionnext_atto", scan=True, **changes)
    wide = jax.tree.map(lambda leaf, f: np.broadcast_to(f, leaf.shape), shapes, stacked)
    for path, leaf in trees.paths_and_leaves(unstack_blocks(wide)):
        np.testing.assert_array_equal(leaf, dict(trees.paths_and_leaves(plain))[path], path)
    assert dict(trees.paths_and_leaves(plain))["stem/conv/kernel"] == 0.7**13
    assert plain["head"]["fc2"]["bias"] == 5.0
    assert plain["stages_2"]["blocks_1"]["gamma"] == 0.0


def test_deep_convnexts_have_the_authors_twelve_layers():
    """The table of ConvNeXt's optim_factory.py, of 3, 3, 27, 3 blocks."""
    wanted = {"stem/conv/kernel": 0, "head/norm/scale": 13, "head/fc/kernel": 13}
    wanted |= {f"stages_{s}/downsample/conv/kernel": i for s, i in ((1, 2), (2, 3), (3, 12))}
    for stage, (depth, first) in enumerate(((3, 1), (3, 2), (27, 3), (3, 12))):
        wanted |= {
            f"stages_{stage}/blocks_{block}/gamma": first + (block // 3 if stage == 2 else 0)
            for block in range(depth)
        }
    found = layer_factors(inx.model_info("convnext_base").family, list(wanted), 0.7)
    assert found == pytest.approx({path: 0.7 ** (13 - i) for path, i in wanted.items()})


def convnext_paths(name, prefix=""):
    """Returns a path of each part: stem, downsamplings, blocks by (stage, block)."""
    blocks = {
        (stage, block): f"{prefix}stages_{stage}/blocks_{block}/mlp/fc1/kernel"
        for stage, depth in enumerate(inx.model_info(name).stage_depths)
        for block in range(depth)
    }
    downs = {stage: f"{prefix}stages_{stage}/downsample/norm/scale" for stage in (1, 2, 3)}
    return f"{prefix}stem/conv/kernel", downs, blocks


HEADS = ["decode_head/conv_seg/kernel", "auxiliary_head/convs_0/norm/bias", "out_norm/norm_0/scale"]


def found_in_system(name, decay, groups):
    stem, downs, blocks = convnext_paths(name, "backbone/")
    paths = [stem, *downs.values(), *blocks.values(), *HEADS]
    info = inx.model_info(f"upernet_{name}")
    return layer_factors(info.family, paths, decay, "backbone/", groups)


@pytest.mark.parametrize(
    ("name", "layers"), [("convnext_tiny", 8), *((f"convnext_{s}", 14) for s in (
        "small", "base", "large", "xlarge"))],
)  # fmt: skip
def test_the_stages_of_segmentation_have_the_authors_factors(name, layers):
    """`get_num_layer_stage_wise`: the layers' number depends on the size, their ids do not."""
    found = found_in_system(name, 0.9, "stage")
    stem, downs, blocks = convnext_paths(name, "backbone/")
    wanted = dict.fromkeys(HEADS, 1.0)
    wanted |= dict.fromkeys([stem, *downs.values()], 0.9 ** (layers - 1))
    wanted |= {path: 0.9 ** (layers - 2 - stage) for (stage, _), path in blocks.items()}
    assert found == pytest.approx(wanted, rel=1e-12)
    assert found[stem] == pytest.approx(0.9**7 if name == "convnext_tiny" else 0.9**13)


@pytest.mark.parametrize(("name", "num"), [("convnext_tiny", 6), ("convnext_small", 12)])
def test_the_layers_of_detection_have_the_authors_factors(name, num):
    """`get_num_layer_layer_wise`: 0.95 of ConvNeXt-T in Mask R-CNN."""
    found = found_in_system(name, 0.95, "triple")
    stem, downs, blocks = convnext_paths(name, "backbone/")
    ids = {stem: 0, downs[1]: 2, downs[2]: 3, downs[3]: num}
    firsts = {0: 1, 1: 2, 2: 3, 3: num}
    ids |= {
        path: firsts[stage] + (block // 3 if stage == 2 else 0)
        for (stage, block), path in blocks.items()
    }
    wanted = dict.fromkeys(HEADS, 1.0) | {p: 0.95 ** (num + 1 - i) for p, i in ids.items()}
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_pairs_of_vanillanet_have_the_authors_factors():
    """`get_layer_id_for_vanillanet` with 6 layers at 0.6: the stem has 0.028 of the rate."""
    ids = {"stem/conv1/kernel": 0, "stem/act/norm/scale": 0}
    pairs = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6)
    ids |= {f"stages_{i}/{part}": layer for i, layer in enumerate(pairs)
            for part in ("conv1/kernel", "norm2/bias", "act/kernel", "act/norm/scale")}  # fmt: skip
    paths = {f"backbone/{path}": 0.6 ** (7 - layer) for path, layer in ids.items()}
    heads = ["neck/lateral_convs_0/kernel", "rpn_head/rpn_conv/kernel", "bbox_head/fc_cls/bias"]
    family = inx.model_info("upernet_vanillanet_13").family
    found = layer_factors(family, [*paths, *heads], 0.6, "backbone/", "pair")
    assert found == pytest.approx(paths | dict.fromkeys(heads, 1.0), rel=1e-12)
    assert found["backbone/stem/conv1/kernel"] == pytest.approx(0.0279936)
    assert found["backbone/stages_10/act/kernel"] == pytest.approx(0.6)


def test_pairs_of_a_classifier_end_at_its_head():
    wanted = {"stem/conv1/kernel": 0, "stages_0/conv1/kernel": 1, "stages_1/conv1/bias": 1}
    wanted |= {"stages_2/conv2/kernel": 2, "stages_3/act/kernel": 2, "head/fc1/kernel": 3}
    family = inx.model_info("vanillanet_6").family
    found = layer_factors(family, list(wanted), 0.8, groups="pair")
    assert found == pytest.approx({path: 0.8 ** (3 - i) for path, i in wanted.items()})


@pytest.mark.parametrize("groups", ["stage", "triple"])
def test_groups_hold_for_classifiers_and_whole_systems(groups):
    depths = {"stage_depths": (3, 3, 9, 3)}
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    found = {}
    for name, body in (("convnext_tiny", ""), ("upernet_convnext_tiny", "backbone/")):
        model = inx.create_model(name, **depths)
        params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
        config = optim(layer_decay=0.9, layer_groups=groups)
        tree = make_optimizer(config, params, name, body).rate_factors
        found[name] = dict(trees.paths_and_leaves(tree))
    classifier = {f"backbone/{p}": f for p, f in found["convnext_tiny"].items()}
    system = found["upernet_convnext_tiny"]
    assert {p: f for p, f in system.items() if p.startswith("backbone/")} == (
        {p: f for p, f in classifier.items() if not p.startswith("backbone/head/")}
    )
    assert {f for p, f in system.items() if not p.startswith("backbone/")} == {1.0}
    assert {f for p, f in classifier.items() if p.startswith("backbone/head/")} == {1.0}


def test_groups_that_a_family_lacks_are_refused_with_those_that_it_has():
    family = inx.model_info("upernet_resnet50").family
    with pytest.raises(UserError, match=r"layer_groups='stage' is not a rule .* one of block$"):
        layer_factors(family, ["backbone/stem/conv"], 0.9, "backbone/", "stage")
    family = inx.model_info("convnext_base").family
    with pytest.raises(UserError, match="has no rule for tail/kernel"):
        layer_factors(family, [*BACKBONE, "tail/kernel"], 0.9, groups="stage")


def test_vanillanet_has_a_layer_for_each_stage():
    wanted = {"stem/conv1/kernel": 0, "stages_0/conv1/kernel": 1, "stages_1/conv1/bias": 2}
    wanted |= {"stages_2/conv2/kernel": 3, "stages_3/act/kernel": 4, "head/fc1/kernel": 5}
    found = layer_factors(inx.model_info("vanillanet_6").family, list(wanted), 0.8)
    assert found == pytest.approx({path: 0.8 ** (5 - i) for path, i in wanted.items()})


def test_unknown_models_are_refused():
    config: ConfigDict = optim(layer_decay=0.8)
    with pytest.raises(UserError, match="model 'nasnet_large' is unknown"):
        make_optimizer(config, {"kernel": np.zeros((2, 2))}, "nasnet_large")


BACKBONE = ["stem/conv/kernel", "stages_0/blocks_0/gamma", "stages_1/downsample/conv/kernel"]


@pytest.mark.parametrize("name", ["inceptionnext_atto", "convnext_base", "swin_tiny"])
def test_paths_that_no_rule_covers_are_refused(name):
    family = inx.model_info(name).family
    with pytest.raises(UserError, match=r"optim\.layer_decay has no rule for tail/kernel, tail/bi"):
        layer_factors(family, [*BACKBONE, "tail/kernel", "tail/bias"], 0.8)
    with pytest.raises(UserError, match="has no rule for backbone/tail/kernel;"):
        layer_factors(family, ["backbone/tail/kernel", "neck/kernel"], 0.8, body="backbone/")


def test_a_body_without_parameters_is_refused():
    family = inx.model_info("inceptionnext_atto").family
    with pytest.raises(UserError, match=r"no parameter lies below 'backbone/'; paths .* stem/conv"):
        layer_factors(family, BACKBONE, 0.8, body="backbone/")


@pytest.mark.parametrize(
    "name", ["inceptionnext_atto", "convnext_base", "vanillanet_6", "swin_tiny", "resnet50"]
)
def test_a_backbone_has_the_factors_of_the_classifier_and_its_heads_one(name):
    """A system's tree is backbone/… (without the classifier's head), neck/… and its heads."""
    plain = dict(trees.paths_and_leaves(factors(name, layer_decay=0.8)[1]))
    body = {f"backbone/{p}": f for p, f in plain.items() if not p.startswith("head/")}
    outer = dict.fromkeys(["neck/lateral_0/kernel", "decode_head/fc/bias", "stem/x"], 1.0)
    found = layer_factors(inx.model_info(name).family, [*outer, *body], 0.8, body="backbone/")
    assert found == pytest.approx({**outer, **body}, rel=1e-12)
    assert max(body.values()) == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["convnext_small_iso", "metanext_pool_small_iso", "convnext_base"])
def test_rates_rise_from_the_stem_to_the_head(name):
    _, found = factors(name, layer_decay=0.9)
    flat = dict(trees.paths_and_leaves(found))
    assert min(flat.values()) == flat["stem/conv/kernel"]
    assert {f for path, f in flat.items() if path.startswith("head")} == {1.0}
    assert len(set(flat.values())) == (14 if name == "convnext_base" else 20)


@pytest.mark.parametrize("name", inx.list_models())
def test_the_rule_of_every_model_covers_all_its_parameters(name):
    model = inx.create_model(name)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    found = layer_factors(inx.model_info(name).family, trees.paths(params), 0.5)
    assert {f for path, f in found.items() if path.startswith(("head/fc/", "head/fc2/"))} == {1.0}
    assert len(set(found.values())) >= 4
