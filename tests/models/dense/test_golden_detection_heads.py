"""Necks and heads of detectors equal mmdetection's on stored data, in float32, below 1e-4."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from inceptionnext_jax.convert.tables import locate
from inceptionnext_jax.models.dense.detection_heads import BoxHead, MaskHead, RetinaHead, RpnHead
from inceptionnext_jax.models.dense.fpn import Fpn
from inceptionnext_jax.models.dense.names import MMDET
from tests.models.oracle import relative_error

GOLDEN = Path(__file__).parent / "golden/detection"


@functools.cache
def golden(file):
    with np.load(GOLDEN / f"{file}.npz") as stored:
        return dict(stored)


def loaded(file, module, name, theirs, inputs, stored=""):
    """The variables of a module with the stored weights, all of which are used.

    name: Name of the module in a system.
    theirs: Prefix of mmdetection's names that the file leaves out; stored: the prefix there.
    """
    data = golden(file)
    shapes = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), inputs))
    located = {path: locate(MMDET, (name, *path[1:])) for path in shapes}
    keys = {path: stored + key.removeprefix(theirs) for path, (key, _) in located.items()}
    leaves = {
        path: leaf.from_torch(data[f"weights/{keys[path]}"]) for path, (_, leaf) in located.items()
    }
    given = {key.removeprefix("weights/") for key in data if key.startswith(f"weights/{stored}")}
    assert {key for key in given if "num_batches" not in key} == set(keys.values())
    assert {p: leaf.shape for p, leaf in leaves.items()} == {p: s.shape for p, s in shapes.items()}
    for path, (_, leaf) in located.items():
        key = f"weights/{keys[path]}"
        np.testing.assert_array_equal(leaf.to_torch(leaves[path]), data[key], key)
    return unflatten_dict(leaves)


def nhwc(array):
    return jnp.asarray(array.transpose(0, 2, 3, 1))


def maps_of(data, prefix):
    count = len([key for key in data if key.startswith(prefix)])
    return [nhwc(data[f"{prefix}{i}"]) for i in range(count)]


@pytest.mark.parametrize("kind", ["ceil", "floor"])
@pytest.mark.parametrize(("start", "extra", "name"), [(0, "pool", "fpn"), (1, "conv", "retina")])
def test_pyramids_equal_mmdetections(kind, start, extra, name):
    data = golden("fpn")
    maps = maps_of(data, f"inputs/{kind}/")
    module = Fpn(16, start, extra)
    variables = loaded("fpn", module, "neck", "neck.", maps, f"{name}.")
    levels = jax.jit(module.apply)(variables, maps)
    assert len(levels) == 5
    for i, level in enumerate(levels):
        assert relative_error(level, nhwc(data[f"outputs/{name}/{kind}/{i}"])) < 1e-4, i


@pytest.mark.parametrize(
    ("file", "module", "name", "prefix"),
    [
        ("rpn_head", RpnHead(channels=16), "rpn_head", "rpn_head."),
        ("retina_head", RetinaHead(5, channels=16), "retina_head", "bbox_head."),
    ],
)
def test_scores_and_deltas_of_anchors_equal_mmdetections(file, module, name, prefix):
    data = golden(file)
    maps = maps_of(data, "inputs/maps/")
    variables = loaded(file, module, name, prefix, maps)
    scores, deltas = jax.jit(module.apply)(variables, maps)
    for i in range(5):
        assert relative_error(scores[i], nhwc(data[f"outputs/cls_scores/{i}"])) < 1e-4, i
        assert relative_error(deltas[i], nhwc(data[f"outputs/bbox_preds/{i}"])) < 1e-4, i


@pytest.mark.parametrize("name", ["bbox_head", "bbox_head_2"])
@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("bbox_head_2fc", BoxHead(5, channels=64)),
        ("bbox_head_4conv", BoxHead(5, 4, 1, conv_channels=12, channels=64)),
    ],
)
def test_box_heads_equal_mmdetections(file, module, name):
    data = golden(file)
    x = nhwc(data["inputs/roi_features"])
    prefix = "roi_head.bbox_head." + ("2." if name[-1] == "2" else "")
    variables = loaded(file, module, name, prefix, x)
    for train, start in ((False, ""), (True, "train_")):
        (scores, deltas), moved = jax.jit(
            lambda v, x, train=train: module.apply(v, x, train=train, mutable="batch_stats")
        )(variables, x)
        assert relative_error(scores, data[f"outputs/{start}cls_score"]) < 1e-4
        assert relative_error(deltas, data[f"outputs/{start}bbox_pred"]) < 1e-4
    checked = 0
    for path, found in flatten_dict(moved).items():
        key = locate(MMDET, (name, *path[1:]))[0].removeprefix(prefix)
        assert relative_error(found, data[f"outputs/after_train/{key}"]) < 1e-4, key
        checked += 1
    assert checked == len([key for key in data if key.startswith("outputs/after_train/")])


def test_the_mask_head_equals_mmdetections():
    data = golden("mask_head")
    x = nhwc(data["inputs/mask_features"])
    module = MaskHead(5, channels=12)
    variables = loaded("mask_head", module, "mask_head", "roi_head.mask_head.", x)
    found = jax.jit(module.apply)(variables, x)
    assert relative_error(found, nhwc(data["outputs/mask_preds"])) < 1e-4


@pytest.mark.parametrize(
    ("module", "inputs", "count"),
    [
        (RpnHead(), [(1, 8, 8, 256)], 593_935),
        (RetinaHead(80), [(1, 8, 8, 256)], 6_463_220),
        (BoxHead(80), (1, 7, 7, 256), 14_306_705),
        (BoxHead(80, 4, 1), (1, 7, 7, 256), 15_618_449),
        (MaskHead(80), (1, 14, 14, 256), 2_643_280),
    ],
)
def test_heads_have_the_published_numbers_of_parameters(module, inputs, count):
    given = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        inputs,
        is_leaf=lambda node: isinstance(node, tuple),
    )
    params = jax.eval_shape(module.init, jax.random.key(0), given)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_rare_objects_are_the_first_guess_of_retinanet():
    head = RetinaHead(3, channels=8)
    maps = [jax.random.normal(jax.random.key(1), (1, 4, 4, 8))]
    (scores,), _ = head.apply(head.init(jax.random.key(0), maps), maps)
    assert np.asarray(jax.nn.sigmoid(scores)) == pytest.approx(0.01, rel=0.05)
