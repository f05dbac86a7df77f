"""Detectors by name: what they return, options, randomness, precision, and their deployed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax import trees
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.dense.targets import Targets
from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.network import with_options
from tests.models.oracle import images, random_variables, relative_error

KINDS = ("retinanet", "mask_rcnn", "cascade_mask_rcnn")
SMALL = {
    "num_classes": 3, "stage_depths": (1, 1, 1, 1), "channels": 16, "proposals": 20,
    "detections": 6, "depthwise_impl": "conv",
}  # fmt: skip
OF_REGIONS = {"fc_channels": 16, "rois": 16}
SIZES = jnp.array([[64, 96], [50, 64]], jnp.int32)
KEY = jax.random.key(3)


def small(kind, backbone="inceptionnext_atto", **options):
    both = {**SMALL, **({} if kind == "retinanet" else OF_REGIONS), **options}
    return inx.create_model(f"{kind}_{backbone}", **both)


BOXES = np.array(
    [[4, 6, 28, 26], [30, 10, 46, 50], [8, 20, 48, 48], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32
)


def targets(number=3, slots=5, masks=True, repeats=1):
    boxes = BOXES[:slots]
    rows = np.arange(slots) < number
    ones = (repeats, 1)
    return Targets(
        sizes=jnp.tile(SIZES[:1], ones),
        boxes=jnp.tile(jnp.where(rows[:, None], boxes, 0).astype(jnp.float32), (repeats, 1, 1)),
        classes=jnp.tile(jnp.arange(slots, dtype=jnp.int32) % 3, ones),
        valid=jnp.tile(rows, ones),
        masks=jnp.full((repeats, slots, 14, 14), 255, jnp.uint8) if masks else None,
    )


@pytest.fixture(scope="module", params=KINDS)
def detector(request):
    model = small(request.param)
    return model, jax.tree.map(jnp.asarray, random_variables(model))


@functools.cache
def compiled(model, with_gradients):
    def losses(params, others, x, targets, positions, key):
        found, moved = model.apply(
            {**others, "params": params}, x, targets, key, positions, method="losses",
            rngs={"dropout": key}, mutable=["batch_stats"],
        )  # fmt: skip
        return sum(found.values()), (found, moved)

    if with_gradients:
        return jax.jit(jax.value_and_grad(losses, has_aux=True))
    return jax.jit(lambda *args: (losses(*args), None))


def trained(model, variables, x, targets, positions=None, key=KEY, gradients=False):
    """Losses, moved statistics and, where wanted, gradients."""
    others = {name: tree for name, tree in variables.items() if name != "params"}
    positions = jnp.arange(len(x)) if positions is None else positions
    step = compiled(model, gradients)
    (_, aux), found = step(variables["params"], others, x, targets, positions, key)
    return (*aux, found) if gradients else aux


def test_results_have_fixed_shapes_and_lie_within_their_images(detector):
    model, variables = detector
    found = jax.jit(model.apply)(variables, images((2, 64, 96, 3)), SIZES)
    has_masks = "masks" in found
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "boxes": ((2, 6, 4), jnp.float32),
        "scores": ((2, 6), jnp.float32),
        "labels": ((2, 6), jnp.int32),
        "valid": ((2, 6), bool),
        **({"masks": ((2, 6, 28, 28), jnp.float32)} if has_masks else {}),
    }
    boxes = np.asarray(found["boxes"])
    assert (boxes >= 0).all()
    assert (boxes[..., 2:] <= np.asarray(SIZES)[:, None, ::-1]).all()
    scores = np.asarray(found["scores"])
    assert (np.diff(scores, axis=1) <= 0).all()
    assert np.isfinite(scores).all()


def test_images_do_not_depend_on_their_batch(detector):
    model, variables = detector
    x = images((2, 64, 96, 3))
    both = jax.jit(model.apply)(variables, x, SIZES)
    alone = jax.jit(model.apply)(variables, x[1:], SIZES[1:])
    for name in both:
        np.testing.assert_allclose(both[name][1], alone[name][0], atol=1e-3)


@pytest.mark.parametrize("number", [0, 3])
def test_losses_and_their_gradients_are_finite(detector, number):
    """Without any object too, and with slots of padding, which have no area."""
    model, variables = detector
    x = images((2, 64, 96, 3))
    losses, moved, gradients = trained(
        model, variables, x, targets(number, repeats=2), gradients=True
    )
    assert all(np.isfinite(float(value)) for value in losses.values())
    without = [name for name in losses if name.startswith(("box", "mask", "rpn_box"))]
    assert all((float(losses[name]) == 0) == (number == 0) for name in without)
    for path, gradient in trees.paths_and_leaves(gradients):
        assert np.isfinite(gradient).all(), path
    means = [leaf for _, leaf in trees.paths_and_leaves(moved)]
    assert all(np.isfinite(leaf).all() for leaf in means)


def test_samples_follow_the_position_in_the_global_batch():
    model = small("mask_rcnn", rois=4)
    model = model.clone(rpn_samples=8)
    variables = random_variables(model)
    x = np.repeat(images((1, 64, 96, 3)), 2, 0)

    def at(*positions):
        return trained(model, variables, x, targets(repeats=2), jnp.array(positions))[0]

    first, same, other = at(5, 9), at(9, 5), at(6, 7)
    for name in first:
        assert float(first[name]) == pytest.approx(float(same[name]), rel=1e-5), name
    assert any(abs(float(first[n]) - float(other[n])) > 1e-6 for n in ("rpn_cls", "cls"))
    another = trained(model, variables, x, targets(repeats=2), jnp.array([5, 9]), jax.random.key(4))
    assert abs(float(first["rpn_cls"]) - float(another[0]["rpn_cls"])) > 1e-6


def test_padding_of_objects_changes_nothing():
    model = small("retinanet")
    variables, x = random_variables(model), images((1, 64, 96, 3))
    few, _ = trained(model, variables, x, targets(3, slots=3))
    many, _ = trained(model, variables, x, targets(3, slots=5))
    assert few.keys() == many.keys()
    for name in few:
        assert float(few[name]) == pytest.approx(float(many[name]), rel=1e-5), name


@pytest.mark.parametrize("kind", ["retinanet", pytest.param("mask_rcnn", marks=pytest.mark.slow)])
def test_half_precision_gives_float32_results_near_the_exact_ones(kind):
    model = small(kind)
    variables = random_variables(model)
    x = images((2, 64, 96, 3))
    expected = jax.jit(model.apply)(variables, x, SIZES)
    half = model.clone(
        backbone=with_options(model, dtype=jnp.bfloat16).backbone, dtype=jnp.bfloat16
    )
    found = jax.jit(half.apply)(variables, x, SIZES)
    assert {name: value.dtype for name, value in found.items()} == (
        {name: value.dtype for name, value in expected.items()}
    )
    given = images((2, 64, 96, 3)), targets(repeats=2)
    losses, _, gradients = trained(half, variables, *given, gradients=True)
    exact, _, _ = trained(model, variables, *given, gradients=True)
    of_anchors = (
        ("cls", "box") if "cls" in exact and "mask" not in exact else ("rpn_cls", "rpn_box")
    )
    for name in of_anchors:  # the rest depends on which boxes are proposed
        assert float(losses[name]) == pytest.approx(float(exact[name]), rel=0.2, abs=0.05), name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((losses, gradients)))


def test_frozen_norms_use_and_keep_running_statistics():
    model = small("retinanet", frozen_norm=True)
    variables = random_variables(model)
    x = images((2, 64, 96, 3))
    _, moved = trained(model, variables, x, targets(repeats=2, masks=False))
    same = jax.tree.map(np.array_equal, moved, {"batch_stats": variables["batch_stats"]})
    assert all(jax.tree.leaves(same))
    _, moved = trained(small("retinanet"), variables, x, targets(repeats=2, masks=False))
    assert not any(
        jax.tree.leaves(
            jax.tree.map(np.array_equal, moved, {"batch_stats": variables["batch_stats"]})
        )
    )


def test_groups_of_images_are_groups_of_their_regions():
    model = small("cascade_mask_rcnn", bn_group_size=2)
    assert model._box_head("bbox_head_0").bn_group_size == 2 * OF_REGIONS["rois"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cascade_mask_rcnn_inceptionnext_atto", {}),
        ("mask_rcnn_vanillanet_5", {"stage_depths": (1, 1, 1), "width": 0.0625}),
    ],
)
def test_the_deployed_detector_finds_the_same(name, options):
    model = inx.create_model(name, **{**SMALL, **OF_REGIONS, **options})
    variables = random_variables(model)
    if "host" in variables:
        variables["host"] = jax.tree.map(np.ones_like, variables["host"])
    smaller, folded = deploy(model, variables)
    x = images((1, 64, 96, 3))
    expected = jax.jit(model.apply)(variables, x)
    found = jax.jit(smaller.apply)(folded, x)
    for part in ("boxes", "scores", "masks"):
        assert relative_error(found[part], np.asarray(expected[part])) < 1e-3
    paths = trees.paths(folded["params"])
    assert len(paths) < len(trees.paths(variables["params"]))
    assert not [path for path in paths if "head" in path and "/norm/" in path]


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("retinanet", "num_classes", 0),
        ("retinanet", "fc_channels", 8),
        ("mask_rcnn", "proposals", 0),
        ("mask_rcnn", "rois", 3),
        ("mask_rcnn", "detections", 1.5),
        ("mask_rcnn", "frozen_norm", 1),
        ("mask_rcnn", "out_norm", "btach"),
        ("mask_rcnn", "roi_align_impl", "dens"),
    ],
)
def test_values_that_a_detector_cannot_have_are_refused_by_name(kind, option, value):
    with pytest.raises(UserError, match=option):
        inx.create_model(f"{kind}_inceptionnext_atto", **{option: value})


def test_training_needs_the_losses():
    model = small("retinanet")
    with pytest.raises(UserError, match="losses"):
        model.apply(random_variables(model), images((1, 64, 96, 3)), train=True)


def test_mask_heads_need_masks():
    model = small("mask_rcnn")
    with pytest.raises(UserError, match="masks"):
        trained(model, random_variables(model), images((1, 64, 96, 3)), targets(masks=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "backbone", ["inceptionnext_atto", "convnext_atto", "vanillanet_13", "swin_tiny", "resnet50",
                 "resnext101_32x4d", "poolformer_s12"],
)  # fmt: skip
def test_every_kind_of_backbone_makes_every_detector(kind, backbone):
    depths = tuple(1 for _ in inx.model_info(backbone).stage_depths)
    model = small(kind, backbone, stage_depths=depths)
    image = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    found, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert found["boxes"].shape == (2, 6, 4)
    heads = {"retinanet": {"retina_head"}, "mask_rcnn": {"rpn_head", "bbox_head", "mask_head"}}
    numbered = {f"{name}_head_{i}" for name in ("bbox", "mask") for i in range(3)}
    wanted = heads.get(kind, {"rpn_head", *numbered}) | {"backbone", "neck"}
    has_norms = backbone.split("_")[0] in ("convnext", "swin", "poolformer")
    assert set(variables["params"]) == wanted | ({"out_norm"} if has_norms else set())


def test_detectors_are_systems_of_their_task():
    info = inx.model_info("mask_rcnn_convnext_tiny")
    assert (info.task, info.counted_at, info.stage_depths) == (
        "detection", (800, 1280), (3, 3, 9, 3)
    )  # fmt: skip
    assert "cascade_mask_rcnn_swin_tiny" in inx.list_models("cascade_mask_rcnn_*")
