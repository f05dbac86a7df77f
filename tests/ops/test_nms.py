"""Non-maximum suppression equals the greedy rule as plain numpy states it, at every threshold."""

import jax
import numpy as np
import pytest

from inceptionnext_jax.ops import nms as ops
from tests.ops.stored import stored

nms = jax.jit(ops.nms, static_argnums=4)
grouped_nms = jax.jit(ops.grouped_nms, static_argnums=5)
THRESHOLDS = [0.3, 0.4, 0.45, 0.5, 0.6, 0.7]


def greedy(boxes, scores, threshold):
    """The rule in plain float32 numpy: indices of kept boxes, best first."""
    remaining = list(np.argsort(-scores, kind="stable"))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while remaining:
        best, *rest = remaining
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = np.maximum(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - low, 0)
        common = sides[:, 0] * sides[:, 1]
        with np.errstate(invalid="ignore"):
            iou = common / (area[best] + area[rest] - common)
        remaining = [i for i, x in zip(rest, iou, strict=True) if not x > np.float32(threshold)]
    return kept


def kept(found):
    assert list(found.valid) == sorted(found.valid, reverse=True)
    return np.asarray(found.indices)[np.asarray(found.valid)].tolist()


def clustered(count, seed):
    """Boxes that overlap in clusters, some equal, some without area, and scores with ties."""
    random = np.random.default_rng(seed)
    cluster = random.integers(0, max(1, count // 12), count)
    centre = random.uniform(0, 300, (count, 2))[cluster] + random.normal(0, 8, (count, 2))
    sides = random.uniform(10, 80, (count, 2))[cluster] * np.exp(random.normal(0, 0.2, (count, 2)))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1).astype(np.float32)
    boxes[::17] = boxes[0]
    boxes[5::29, 2] = boxes[5::29, 0]
    boxes[6::31, 2:] = boxes[6::31, :2]
    boxes[7::37] = np.round(boxes[7::37])
    return boxes, np.round(random.uniform(0, 1, count), 2).astype(np.float32)


@pytest.mark.parametrize("block", [16, ops.BLOCK])
def test_nms_equals_the_greedy_rule_at_every_threshold(block, monkeypatch):
    monkeypatch.setattr(ops, "BLOCK", block)
    compiled = jax.jit(lambda *given: ops.nms(*given, size=700))
    for threshold in THRESHOLDS:
        for seed in range(6):
            boxes, scores = clustered(700, seed)
            expected = greedy(boxes, scores, threshold)
            assert 50 < len(expected) < 650
            assert kept(compiled(boxes, scores, np.ones(700, bool), threshold)) == expected


@pytest.mark.parametrize("count", [1, 256, 257])
def test_nms_of_any_number_of_boxes(count):
    boxes, scores = clustered(count, count)
    assert kept(nms(boxes, scores, np.ones(count, bool), 0.5, 300)) == greedy(boxes, scores, 0.5)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_nms_keeps_what_mmdetection_keeps(threshold):
    data = stored("boxes")
    boxes, scores, groups = (data[f"inputs/nms_{name}"] for name in ("boxes", "scores", "ids"))
    valid = np.ones(len(boxes), bool)
    expected = data[f"outputs/nms/{threshold}/keep"].tolist()
    assert kept(nms(boxes, scores, valid, threshold, 150)) == expected
    expected = data[f"outputs/nms/{threshold}/keep_per_id"].tolist()
    assert kept(grouped_nms(boxes, scores, groups, valid, threshold, 150)) == expected


def test_longest_chain_of_decisions():
    """Each box overlaps its neighbours only, so a decision waits for all before it."""
    start = np.arange(600, dtype=np.float32)
    boxes = np.stack([start, 0 * start, start + 1.9, 0 * start + 1], axis=1)
    scores = np.linspace(1, 0, 600, dtype=np.float32)
    found = kept(nms(boxes, scores, np.ones(600, bool), 0.3, 600))
    assert found == list(range(0, 600, 2))


def test_iou_equal_to_the_threshold_does_not_suppress():
    boxes = np.array([[0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 8, 5]], np.float32)
    scores = np.array([3, 2, 1], np.float32)
    assert kept(nms(boxes, scores, np.ones(3, bool), 0.5, 3)) == [0, 1]


def test_equal_scores_keep_the_given_order():
    boxes = np.tile(np.array([0, 0, 8, 8], np.float32), (300, 1)) + np.arange(300)[:, None] // 100
    assert kept(nms(boxes, np.ones(300, np.float32), np.ones(300, bool), 0.99, 5)) == [0, 100, 200]


def test_the_best_that_fit_are_kept():
    boxes, scores = clustered(700, 0)
    expected = greedy(boxes, scores, 0.5)
    for size in (1, 70):
        assert kept(nms(boxes, scores, np.ones(700, bool), 0.5, size)) == expected[:size]


def test_boxes_that_are_not_valid_have_no_effect():
    boxes, scores = clustered(400, 3)
    valid = np.random.default_rng(0).random(400) < 0.6
    boxes[~valid] = [np.inf, -np.inf, np.nan, 1e30]
    among = np.flatnonzero(valid)
    expected = among[greedy(boxes[valid], scores[valid], 0.4)].tolist()
    assert kept(nms(boxes, scores, valid, 0.4, 400)) == expected
    assert kept(nms(boxes, scores, np.zeros(400, bool), 0.4, 400)) == []


def test_groups_do_not_suppress_each_other():
    boxes, scores = clustered(400, 4)
    groups = np.random.default_rng(1).integers(0, 5, 400)
    expected = []
    for group in range(5):
        among = np.flatnonzero(groups == group)
        expected += among[greedy(boxes[among], scores[among], 0.5)].tolist()
    expected.sort(key=lambda i: (-scores[i], i))
    found = grouped_nms(boxes - boxes.min(), scores, groups, np.ones(400, bool), 0.5, 400)
    assert kept(found) == expected


def test_images_of_a_batch_are_independent():
    batch = [clustered(300, seed) for seed in range(3)]
    boxes, scores = map(np.stack, zip(*batch, strict=True))
    valid = np.ones((3, 300), bool)
    found = jax.vmap(ops.nms, (0, 0, 0, None, None))(boxes, scores, valid, 0.5, 300)
    for i, image in enumerate(batch):
        assert kept(jax.tree.map(lambda x, i=i: x[i], found)) == greedy(*image, 0.5)


def test_nms_within_a_loss_has_no_gradient():
    boxes, scores = clustered(50, 0)

    def loss(boxes):
        found = ops.nms(boxes, scores, np.ones(50, bool), 0.5, 10)
        return (jax.lax.stop_gradient(boxes)[found.indices] ** 2).sum() + 0 * boxes.sum()

    assert not jax.grad(loss)(boxes).any()
