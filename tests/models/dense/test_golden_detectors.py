"""Detectors equal mmdetection's on stored data: losses, gradients, proposals and detections."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from inceptionnext_jax.convert.tables import locate
from inceptionnext_jax.data.paste import paste
from inceptionnext_jax.models.dense import rpn
from inceptionnext_jax.models.dense.detection_heads import RetinaHead, RpnHead
from inceptionnext_jax.models.dense.mask_rcnn import CascadeMaskRcnn, MaskRcnn
from inceptionnext_jax.models.dense.names import MMDET
from inceptionnext_jax.models.dense.retinanet import RetinaNet
from inceptionnext_jax.models.dense.targets import Targets, image_keys
from inceptionnext_jax.ops.anchors import RPN
from tests.models.dense.test_golden_detection_heads import golden, loaded, maps_of, nhwc
from tests.models.dense.toy import ToyBackbone, stored_variables
from tests.models.oracle import relative_error

KEY = jax.random.key(0)
TOY = (8, 10, 12, 16)
CANVAS = (128, 160)


def settings(file):
    return json.loads(str(golden(file)["settings"]))


def listed(data, prefix):
    """The arrays prefix0, prefix1, …"""
    count = len({key.removeprefix(prefix).split("/")[0] for key in data if key.startswith(prefix)})
    return [data[f"{prefix}{i}"] for i in range(count)]


def padded(arrays, slots, fill=0):
    """Arrays [n, …] of images as [B, slots, …]."""
    shape = (len(arrays), slots, *arrays[0].shape[1:])
    found = np.full(shape, fill, arrays[0].dtype)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return found


def targets_of(data, sizes, slots=6, canvas=CANVAS, empty=False):
    """The stored objects, with padding; masks are whole bitmaps."""
    boxes, labels = listed(data, "inputs/gt_bboxes/"), listed(data, "inputs/gt_labels/")
    masks = listed(data, "inputs/gt_masks/") or None
    valid = padded([np.ones(len(b), bool) for b in boxes], slots)
    if masks is not None:
        masks = [np.pad(m, ((0, 0), (0, canvas[0] - m.shape[1]), (0, canvas[1] - m.shape[2])))
                 for m in masks]  # fmt: skip
        masks = jnp.asarray(padded(masks, slots) * np.uint8(255))
    whole = jnp.array([0, 0, canvas[1], canvas[0]], jnp.float32)
    return Targets(
        sizes=jnp.asarray(sizes),
        boxes=jnp.asarray(padded(boxes, slots)),
        classes=jnp.asarray(padded(labels, slots).astype(np.int32)),
        valid=jnp.asarray(valid & (not empty)),
        masks=masks,
        places=jnp.broadcast_to(whole, (len(boxes), slots, 4)),
    )


class SixtyOfEachLevel(MaskRcnn):
    """The stored detector: 60 anchors of each level are proposed, in training too."""

    @nn.nowrap
    def _proposals(self, scores, deltas, sizes, train):
        return rpn.propose(scores, deltas, RPN, sizes, 60, 40)


def sizes_in(file):
    stored = settings(file)
    metas = stored.get("img_metas") or [stored["img_meta"]]
    return np.array([meta["img_shape"] for meta in metas], np.int32)


# --- heads with anchors


def raw(data):
    return maps_of(data, "outputs/cls_scores/"), maps_of(data, "outputs/bbox_preds/")


def test_proposals_equal_mmdetections():
    data = golden("rpn_head")
    scores, deltas = raw(data)
    found = jax.jit(lambda s, d: rpn.propose(s, d, RPN, sizes_in("rpn_head"), 60, 50))(
        scores, deltas
    )
    for image in range(2):
        assert found.valid[image].all()
        wanted = data[f"outputs/proposals/{image}/bboxes"]
        np.testing.assert_allclose(found.boxes[image], wanted, atol=1e-2)
        wanted = data[f"outputs/proposals/{image}/scores"]
        np.testing.assert_allclose(found.scores[image], wanted, atol=1e-4)


@pytest.mark.parametrize("border", [-1, 0])
@pytest.mark.parametrize(("beta", "kind"), [(0.0, "l1"), (1 / 9, "smooth_l1")])
def test_losses_of_the_rpn_equal_mmdetections(border, beta, kind):
    data = golden("rpn_head")
    scores, deltas = raw(data)
    sampling = rpn.Sampling(5118, 1.0, border, beta)
    targets = targets_of(data, sizes_in("rpn_head"))
    found = jax.jit(
        lambda s, d: rpn.rpn_losses(s, d, RPN, targets, image_keys(KEY, jnp.arange(2)), sampling)
    )(scores, deltas)
    name = f"outputs/loss_{kind}{'_border_0' if border == 0 else ''}"
    for value, term in zip(found, ("cls", "bbox"), strict=True):
        assert float(value) == pytest.approx(float(data[f"{name}/loss_rpn_{term}_sum"]), rel=1e-4)


def test_losses_of_the_rpn_without_objects_equal_mmdetections():
    data = golden("rpn_head")
    targets = targets_of(data, sizes_in("rpn_head"), empty=True)
    keys = image_keys(KEY, jnp.arange(2))
    found = rpn.rpn_losses(*raw(data), RPN, targets, keys, rpn.Sampling(5118, 1.0))
    wanted = data["outputs/loss_without_gt/loss_rpn_cls"].sum()
    assert float(found[0]) == pytest.approx(float(wanted), rel=1e-4)
    assert float(found[1]) == 0
    assert data["outputs/loss_without_gt/loss_rpn_bbox"].sum() == 0


def retina_and_variables():
    data = golden("retina_head")
    model = RetinaNet(ToyBackbone(), num_classes=5, channels=16, proposals=100, detections=70)
    levels = tuple(maps_of(data, "inputs/maps/"))
    head = loaded("retina_head", RetinaHead(5, channels=16), "retina_head", "bbox_head.", levels)
    return data, model, {"params": {"retina_head": head["params"]}}, levels


def test_detections_of_the_retina_head_equal_mmdetections():
    data, model, variables, levels = retina_and_variables()
    sizes = jnp.asarray(sizes_in("retina_head"))
    found = jax.jit(lambda v: model.apply(v, levels, sizes, method="from_levels"))(variables)
    for image in range(2):
        start = f"outputs/predict/{image}"
        assert found["valid"][image].all()
        np.testing.assert_array_equal(found["labels"][image], data[f"{start}/labels"])
        np.testing.assert_allclose(found["scores"][image], data[f"{start}/scores"], atol=1e-4)
        np.testing.assert_allclose(found["boxes"][image], data[f"{start}/bboxes"], atol=1e-2)
        scale = np.tile(settings("retina_head")["img_metas"][image]["scale_factor"], 2)
        np.testing.assert_allclose(
            np.asarray(found["boxes"][image]) / scale,
            data[f"outputs/predict_rescaled/{image}/bboxes"],
            atol=1e-2,
        )


def test_losses_and_gradients_of_the_retina_head_equal_mmdetections():
    data, model, variables, levels = retina_and_variables()
    targets = targets_of(data, sizes_in("retina_head"))

    def losses(params, targets):
        found = model.apply({"params": params}, levels, targets, method="level_losses")
        return sum(found.values()), found

    gradients, found = jax.jit(jax.grad(losses, has_aux=True))(variables["params"], targets)
    assert float(found["cls"]) == pytest.approx(float(data["outputs/loss/loss_cls_sum"]), rel=1e-4)
    wanted = float(data["outputs/loss/loss_bbox_sum"])
    assert float(found["box"]) == pytest.approx(wanted, rel=1e-4)
    assert compared_gradients(data, {"retina_head": gradients["retina_head"]}, "bbox_head.") == 3
    _, without = losses(variables["params"], targets._replace(valid=targets.valid & False))
    wanted = float(data["outputs/loss_without_gt/loss_cls"].sum())
    assert float(without["cls"]) == pytest.approx(wanted, rel=1e-4)
    assert float(without["box"]) == 0


def compared_gradients(data, gradients, prefix):
    """Compares gradients with those stored, and returns how many of these there are."""
    checked = 0
    for path, gradient in flatten_dict(gradients).items():
        assert np.isfinite(gradient).all(), path
        name, leaf = locate(MMDET, path)
        key = f"outputs/grad/weights/{name.removeprefix(prefix)}"
        if key in data:
            assert relative_error(leaf.to_torch(gradient), data[key]) < 1e-4, key
            checked += 1
    assert checked == len([key for key in data if key.startswith("outputs/grad/weights")])
    return checked


def test_gradients_of_the_rpns_losses_equal_mmdetections():
    data = golden("rpn_head")
    levels = maps_of(data, "inputs/maps/")
    head = RpnHead(channels=16)
    variables = loaded("rpn_head", head, "rpn_head", "rpn_head.", levels)
    targets, keys = targets_of(data, sizes_in("rpn_head")), image_keys(KEY, jnp.arange(2))

    def total(params):
        outputs = head.apply({"params": params}, levels)
        return sum(rpn.rpn_losses(*outputs, RPN, targets, keys, rpn.Sampling(5118, 1.0)))

    gradients = jax.jit(jax.grad(total))(variables["params"])
    assert compared_gradients(data, {"rpn_head": gradients}, "rpn_head.") == 3


# --- detectors without their backbone: maps go in


def roi_model(kind):
    return kind(
        ToyBackbone(),
        num_classes=5,
        channels=12,
        fc_channels=64,
        mask_depth=2,
        rois=32,
        roi_fraction=1.0,
        detections=20,
    )


ROI_HEADS = [("standard_roi_head", MaskRcnn), ("cascade_roi_head", CascadeMaskRcnn)]


def head_variables(file, model):
    """The variables of the box and mask heads; all stored weights are used."""
    data = golden(file)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = flatten_dict(jax.eval_shape(model.init, KEY, image))
    leaves, used = {}, set()
    for path in shapes:
        if not path[1].startswith(("bbox_head", "mask_head")):
            continue
        name, leaf = locate(MMDET, path[1:])
        key = f"weights/{name.removeprefix('roi_head.')}"
        used.add(key)
        leaves[path] = leaf.from_torch(data[key])
        assert leaves[path].shape == shapes[path].shape, path
    given = {key for key in data if key.startswith("weights/") and "num_batches" not in key}
    assert used == given
    return unflatten_dict(leaves)


def proposals_of(data):
    boxes = listed(data, "inputs/proposals/")
    return jnp.asarray(np.stack(boxes)), jnp.ones((len(boxes), len(boxes[0])), bool)


@pytest.mark.parametrize(("file", "kind"), ROI_HEADS)
def test_detections_from_proposals_equal_mmdetections(file, kind):
    data, model = golden(file), roi_model(kind)
    variables, sizes = head_variables(file, model), jnp.asarray(sizes_in(file))
    levels = tuple(maps_of(data, "inputs/maps/"))
    boxes, valid = proposals_of(data)
    found = jax.jit(lambda v: model.apply(v, levels, boxes, valid, sizes, method="from_proposals"))(
        variables
    )
    for image, meta in enumerate(settings(file)["img_metas"]):
        start = f"outputs/predict_rescaled/{image}"
        assert found["valid"][image].all()
        np.testing.assert_array_equal(found["labels"][image], data[f"{start}/labels"])
        np.testing.assert_allclose(found["scores"][image], data[f"{start}/scores"], atol=1e-4)
        np.testing.assert_allclose(
            found["boxes"][image], data[f"{start}/bboxes_network_scale"], atol=1e-2
        )
        np.testing.assert_allclose(
            found["masks"][image], data[f"{start}/mask_probabilities"], atol=1e-4
        )
        original = np.asarray(found["boxes"][image]) / np.tile(meta["scale_factor"], 2)
        np.testing.assert_allclose(original, data[f"{start}/bboxes"], atol=1e-2)
        for box, mask, wanted in zip(
            original, np.asarray(found["masks"][image]), data[f"{start}/masks"], strict=True
        ):
            assert (paste(mask, box, tuple(meta["ori_shape"])) != wanted).sum() <= 4


def names_of(kind):
    """Our names of losses and mmdetection's."""
    if kind is MaskRcnn:
        return {"cls": "loss_cls", "box": "loss_bbox", "mask": "loss_mask"}
    return {
        f"{ours}_{i}": f"s{i}.{theirs}"
        for i in range(3)
        for ours, theirs in names_of(MaskRcnn).items()
    }


def region_losses(model, data, variables, targets):
    levels = tuple(maps_of(data, "inputs/maps/"))
    keys = image_keys(KEY, jnp.arange(2))
    losses, _ = model.apply(
        variables, levels, *proposals_of(data), targets, keys,
        method="region_losses", mutable=["batch_stats"],
    )  # fmt: skip
    return losses


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("file", "kind"), ROI_HEADS)
def test_losses_of_regions_equal_mmdetections(file, kind, empty):
    data, model = golden(file), roi_model(kind)
    variables = head_variables(file, model)
    targets = targets_of(data, sizes_in(file), empty=empty)
    found = jax.jit(functools.partial(region_losses, model, data))(variables, targets)
    assert found.keys() == names_of(kind).keys()
    start = "outputs/train_without_gt" if empty else "outputs/train"
    for ours, theirs in names_of(kind).items():
        wanted = float(np.ravel(data[f"{start}/{theirs}"])[0])
        assert float(found[ours]) == pytest.approx(wanted, rel=1e-4, abs=1e-7), ours


@pytest.mark.parametrize(("file", "kind"), ROI_HEADS)
def test_gradients_of_regions_losses_equal_mmdetections(file, kind):
    data, model = golden(file), roi_model(kind)
    variables = head_variables(file, model)
    targets = targets_of(data, sizes_in(file))

    def total(params):
        losses = region_losses(model, data, {**variables, "params": params}, targets)
        return sum(losses.values())

    gradients = jax.jit(jax.grad(total))(variables["params"])
    assert compared_gradients(data, gradients, "roi_head.") == 2


# --- whole detectors


def whole_model(file):
    options = {"num_classes": 4, "channels": 10}
    if file == "retinanet":
        return RetinaNet(ToyBackbone(TOY), **options, proposals=100, detections=30)
    return SixtyOfEachLevel(
        ToyBackbone(TOY), **options, fc_channels=64, mask_depth=2, proposals=40, detections=20,
        rois=100, roi_fraction=1.0, rpn_samples=10_000,
    )  # fmt: skip


@pytest.mark.parametrize("file", ["retinanet", "mask_rcnn"])
def test_whole_detectors_equal_mmdetections(file):
    data, model = golden(file), whole_model(file)
    variables = stored_variables(model, data, MMDET)
    image = nhwc(data["inputs/network_input"])
    found = jax.jit(model.apply)(variables, image, jnp.asarray(sizes_in(file)))
    number = len(data["outputs/predict/0/labels"])
    assert int(found["valid"].sum()) == number
    np.testing.assert_array_equal(found["labels"][0, :number], data["outputs/predict/0/labels"])
    np.testing.assert_allclose(
        found["scores"][0, :number], data["outputs/predict/0/scores"], atol=1e-4
    )
    meta = settings(file)["img_meta"]
    boxes = np.asarray(found["boxes"][0, :number]) / np.tile(meta["scale_factor"], 2)
    np.testing.assert_allclose(boxes, data["outputs/predict/0/bboxes"], atol=1e-2)
    if file == "mask_rcnn":
        masks = zip(boxes, found["masks"][0], data["outputs/predict/0/masks"], strict=True)
        for box, mask, wanted in masks:
            assert (paste(np.asarray(mask), box, wanted.shape) != wanted).sum() <= 4


@pytest.mark.parametrize("file", ["retinanet", "mask_rcnn"])
def test_losses_of_whole_detectors_equal_mmdetections(file):
    data, model = golden(file), whole_model(file)
    variables = stored_variables(model, data, MMDET)
    image = nhwc(data["inputs/network_input"])
    targets = targets_of(data, sizes_in(file), canvas=image.shape[1:3])
    losses, _ = jax.jit(
        lambda v: model.apply(v, image, targets, KEY, method="losses", mutable=["batch_stats"])
    )(variables)
    for name in losses:
        theirs = name.replace("box", "bbox")
        wanted = float(np.sum(data[f"outputs/train/loss_{theirs}"]))
        assert float(losses[name]) == pytest.approx(wanted, rel=1e-4), name
