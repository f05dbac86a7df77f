"""Assignment of boxes to objects equals mmdetection's; samples are uniform and reproducible."""

import functools

import jax
import numpy as np
import pytest

from inceptionnext_jax.ops import assign as ops
from inceptionnext_jax.ops.boxes import iou
from tests.ops.stored import settings, stored

RULES = {
    "rpn": ops.RPN,
    "rcnn": ops.MASK_RCNN,
    "rcnn_no_low_quality": ops.CASCADE[0],
    "retina": ops.RETINA,
}
CASES = {
    "random": ("priors", "gt_bboxes"),
    "ties": ("tie_priors", "tie_gt_bboxes"),
    "no_gt": ("priors", None),
}


@functools.cache
def compiled(rule):
    return jax.jit(lambda *given: ops.assign(*given[:3], rule, *given[3:]))


sample = jax.jit(ops.sample, static_argnums=(2, 3))


def padded(objects, slots=9):
    """Objects [G, 4] with padding behind them, and which are valid."""
    rows = np.zeros((slots, 4), np.float32)
    rows[: len(objects)] = objects
    return rows, np.arange(slots) < len(objects)


def plain(boxes, objects, rule):
    """The rule of MaxIoUAssigner over a whole matrix of IoUs."""
    matrix = np.asarray(jax.jit(iou)(objects[:, None], boxes))
    best = matrix.max(0)
    result = np.full(len(boxes), -1)
    result[best < rule.negative] = 0
    result[best >= rule.positive] = matrix.argmax(0)[best >= rule.positive] + 1
    for i, row in enumerate(matrix):
        if rule.low_quality is not None and row.max() >= rule.low_quality:
            result[row == row.max()] = i + 1
    return result, best


def grid_scene(seed):
    """Anchors on a grid, so that many share their IoU with an object, and objects, two alike."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:160:8, 0:160:8].reshape(2, -1)
    sides = np.array([[16, 16], [40, 24], [24, 40]])[:, None]
    centres = np.stack([x, y], axis=1)
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=2).reshape(-1, 4)
    corners = random.integers(0, 120, (7, 2))
    objects = np.concatenate([corners, corners + random.integers(8, 60, (7, 2))], axis=1)
    objects[4] = objects[1]
    return boxes.astype(np.float32), objects.astype(np.float32)


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("name", sorted(RULES))
def test_assignment_equals_mmdetection(name, case):
    data = stored("assigner")
    boxes, objects = CASES[case]
    objects = np.zeros((0, 4)) if objects is None else data[f"inputs/{objects}"]
    found = compiled(RULES[name])(data[f"inputs/{boxes}"], *padded(objects))
    expected = data[f"outputs/{name}/{case}/gt_inds"]
    np.testing.assert_array_equal(found.objects, expected)
    overlaps = data[f"outputs/{name}/{case}/max_overlaps"]
    np.testing.assert_allclose(found.overlaps, overlaps, atol=1e-6)


def test_rules_are_those_of_the_detectors():
    for name, cfg in settings("assigner")["cfg"].items():
        low_quality = cfg["min_pos_iou"] if cfg["match_low_quality"] else None
        assert RULES[name] == (cfg["pos_iou_thr"], cfg["neg_iou_thr"], low_quality)


@pytest.mark.parametrize("name", sorted(RULES))
def test_ties_on_a_grid_follow_the_rule(name):
    for seed in range(5):
        boxes, objects = grid_scene(seed)
        found = compiled(RULES[name])(boxes, *padded(objects))
        expected, overlaps = plain(boxes, objects, RULES[name])
        np.testing.assert_array_equal(found.objects, expected)
        np.testing.assert_array_equal(found.overlaps, overlaps)


def test_padding_never_claims_a_box():
    """RetinaNet's rule takes a best IoU of 0 for an object, which all padding has."""
    boxes, objects = grid_scene(0)
    expected = compiled(ops.RETINA)(boxes, *padded(objects)).objects
    order = [0, 7, 1, 2, 8, 3, 4, 5, 6]  # padding between objects too
    rows, valid = padded(objects)
    rows[7] = boxes[5]
    found = np.asarray(compiled(ops.RETINA)(boxes, rows[order], valid[order]).objects)
    names = np.array([0, *np.arange(9)[order] + 1, -1])  # of the places in `order`
    np.testing.assert_array_equal(names[found], expected)
    assert np.isin(found, [2, 5]).sum() == 0


def test_boxes_that_take_no_part_are_ignored_and_best_for_nobody():
    boxes, objects = grid_scene(1)
    part = np.random.default_rng(0).random(len(boxes)) < 0.5
    found = compiled(ops.RPN)(boxes, *padded(objects), part)
    expected, _ = plain(boxes[part], objects, ops.RPN)
    np.testing.assert_array_equal(found.objects[part], expected)
    assert (np.asarray(found.objects)[~part] == ops.IGNORED).all()
    none = compiled(ops.RETINA)(boxes, *padded(objects), np.zeros(len(boxes), bool))
    assert (np.asarray(none.objects) == ops.IGNORED).all()


def test_images_of_a_batch_with_different_numbers_of_objects():
    scenes = [grid_scene(0), grid_scene(1)]
    both = padded(scenes[0][1]), padded(scenes[1][1][:2])
    objects, valid = map(np.stack, zip(*both, strict=True))
    boxes = scenes[0][0]
    batched = jax.jit(jax.vmap(functools.partial(ops.assign, rule=ops.RPN), (None, 0, 0)))
    found = batched(boxes, objects, valid).objects
    np.testing.assert_array_equal(found[0], plain(boxes, scenes[0][1], ops.RPN)[0])
    np.testing.assert_array_equal(found[1], plain(boxes, scenes[1][1][:2], ops.RPN)[0])


def drawn(found):
    """Indices of positives and negatives of a sample, whose slots are checked."""
    indices, positive, valid = map(np.asarray, found)
    assert list(valid) == sorted(valid, reverse=True)
    assert list(positive) == sorted(positive, reverse=True)
    assert not (positive & ~valid).any()
    kinds = indices[positive].tolist(), indices[valid & ~positive].tolist()
    assert all(kind == sorted(set(kind)) for kind in kinds)
    return kinds


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [(40, 100, (8, 24)), (3, 100, (3, 29)), (0, 100, (0, 32)), (40, 5, (8, 5)), (2, 3, (2, 3))],
)
def test_numbers_of_a_sample(positives, negatives, expected):
    assigned = np.full(160, -1)
    places = np.random.default_rng(0).permutation(160)
    assigned[places[:positives]] = 7
    assigned[places[positives : positives + negatives]] = 0
    kinds = drawn(sample(jax.random.key(3), assigned, 32, 0.25))
    assert tuple(map(len, kinds)) == expected
    assert (assigned[kinds[0]] == 7).all()
    assert (assigned[kinds[1]] == 0).all()


def test_sample_larger_than_the_boxes_takes_all_in_order():
    assigned = np.array([0, 2, -1, 0, 1])
    assert drawn(sample(jax.random.key(0), assigned, 64, 0.5)) == ([1, 4], [0, 3])


def test_each_box_is_drawn_equally_often_and_independently():
    assigned = np.tile([1, 0, 0, -1], 15)
    keys = jax.random.split(jax.random.key(0), 4000)
    found = jax.jit(jax.vmap(lambda key: ops.sample(key, assigned, 12, 0.5)))(keys)
    indices, positive, _ = map(np.asarray, found)
    assert positive.sum(1).tolist() == [6] * 4000
    hits = np.zeros((4000, 60))
    np.put_along_axis(hits, indices, 1, axis=1)
    assert hits.sum() == 4000 * 12  # without replacement
    for kind, chance in ((1, 6 / 15), (0, 6 / 30)):
        rates = hits[:, assigned == kind].mean(0)
        deviation = np.sqrt(chance * (1 - chance) / 4000)
        assert np.abs(rates - chance).max() < 4.5 * deviation
    # Of two positives, both are drawn with the probability of draws without replacement.
    both = (hits[:, 0] * hits[:, 4]).mean()
    chance = 6 / 15 * 5 / 14
    assert abs(both - chance) < 4 * np.sqrt(chance * (1 - chance) / 4000)


def test_sample_depends_on_its_key_only():
    assigned = np.tile([1, 0, 0, -1], 50)
    one, again, other = (sample(jax.random.key(seed), assigned, 32, 0.25) for seed in (1, 1, 2))
    assert drawn(one) == drawn(again) != drawn(other)
    keys = jax.random.split(jax.random.key(9), 3)
    batch = jax.jit(jax.vmap(lambda key: ops.sample(key, assigned, 32, 0.25)))(keys)
    for i, key in enumerate(keys):
        single = sample(key, assigned, 32, 0.25)
        assert drawn(jax.tree.map(lambda x, i=i: x[i], batch)) == drawn(single)
