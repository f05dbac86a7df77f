"""Scores of detections against pycocotools, on files that both read."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from inceptionnext_jax.data.coco import open_coco
from inceptionnext_jax.data.instance_masks import bitmap, encode
from inceptionnext_jax.tasks.detection import ap
from inceptionnext_jax.tasks.detection.ap import (
    STATS,
    ImageResult,
    average_precision,
    write_results,
)
from tests.coco import write_coco

IDS = (3, 17, 90)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("ap"), num_train=7, num_eval=40)


@pytest.fixture(scope="module")
def source(root):
    return open_coco(str(root)).eval


def guesses(source, seed=0, scores=None, repeats=3):
    """Detections near the objects, some of a wrong class, some twice, some anywhere."""
    results = []
    for index in range(len(source)):
        rng = np.random.default_rng(seed + index)
        found = source.instances(index)
        height, width = found.size
        boxes, classes, masks = [], [], []
        for number, box in enumerate(found.boxes if index % 8 != 7 else ()):
            drawn = bitmap(found.masks[number], found.size)
            for _ in range(rng.integers(repeats + 1)):
                shift = rng.integers(-4, 5, 2)
                boxes.append(box + np.tile(shift, 2) + rng.normal(0, 1.5, 4))
                masks.append(encode(np.roll(drawn, tuple(shift[::-1]), (0, 1))))
                wrong = rng.random() < 0.2
                classes.append(rng.integers(3) if wrong else found.classes[number])
        for _ in range(rng.integers(3) if index % 8 != 7 else 0):
            corners = np.sort(rng.uniform(0, 1, (2, 2)), axis=0).ravel()
            boxes.append(corners * [width, height, width, height])
            drawn = rng.random(found.size) < 0.02
            masks.append(encode(drawn))
            classes.append(rng.integers(3))
        results.append(
            ImageResult(
                found.image_id,
                found.size,
                np.array(boxes, np.float32).reshape(-1, 4),
                (rng.random(len(boxes)) if scores is None else np.full(len(boxes), scores)).astype(
                    np.float32
                ),
                np.array(classes, np.int32),
                masks,
            )
        )
    return results


def pycocotools_scores(annotations, results, kind, images=None):
    """The evaluation's object, of two files."""
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
    if images is not None:
        evaluation.params.imgIds = images
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def assert_equal_to_pycocotools(scores, evaluation):
    """Equal but for the 2.2e-16 that pycocotools adds to denominators."""
    expected = np.where(evaluation.stats == -1, np.nan, evaluation.stats)
    assert_same([scores.stats[name] for name in STATS], expected)
    table = evaluation.eval["precision"][..., 0, -1]
    assert_same(scores.precision, np.where(table == -1, np.nan, table))
    for number in range(3):
        known = table[:, :, number][table[:, :, number] > -1]
        assert_same(scores.per_class[number], np.mean(known))
        known = table[0, :, number][table[0, :, number] > -1]
        assert_same(scores.per_class50[number], np.mean(known))


def assert_same(one, other):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("scores", [None, 0.5])  # different ones, and nothing but ties
def test_all_statistics_equal_those_of_pycocotools_on_the_written_files(
    root, source, tmp_path, kind, scores
):
    results = guesses(source, scores=scores)
    assert any(len(result.boxes) == 0 for result in results)
    write_results(tmp_path / "found.json", results, IDS, kind)
    found = average_precision(source.ground_truth(range(len(source))), results, kind)
    evaluation = pycocotools_scores(
        root / "annotations/instances_val2017.json", tmp_path / "found.json", kind
    )
    assert_equal_to_pycocotools(found, evaluation)
    assert 0.1 < found.stats["ap"] < 0.9
    assert set(found.stats) == set(STATS)
    assert sum(np.isnan(list(found.stats.values()))) == 2  # no object has 96 × 96 pixels


def test_areas_of_masks_are_not_those_of_their_boxes(root, source, tmp_path):
    """A ring's box is of medium size, its mask small: COCO's tools confuse them if told both."""
    results = []
    for index in range(len(source)):
        height, width = source.instances(index).size
        ring = np.zeros((height, width), np.uint8)
        ring[5:28, 5:50] = 1
        ring[7:26, 7:48] = 0
        box = np.array([[5, 5, 50, 50]], np.float32)
        one = ImageResult(
            source.instances(index).image_id,
            (height, width),
            np.repeat(box, 3, 0),
            np.linspace(0.1, 0.9, 3, dtype=np.float32),
            np.arange(3, dtype=np.int32),
            [encode(ring)] * 3,
        )
        results.append(one)
    annotations = json.loads((root / "annotations/instances_val2017.json").read_text())
    write_results(tmp_path / "found.json", results, IDS, "segm")
    written = json.loads((tmp_path / "found.json").read_text())
    assert "bbox" not in written[0]
    loaded = COCO(str(root / "annotations/instances_val2017.json")).loadRes(
        str(tmp_path / "found.json")
    )
    assert {entry["area"] for entry in loaded.anns.values()} == {23 * 45 - 19 * 41}
    assert len(annotations["images"]) * 3 == len(written)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_groups_of_classes_change_no_bit(source, monkeypatch, kind):
    truth, results = source.ground_truth(range(len(source))), guesses(source, seed=7)
    whole = average_precision(truth, results, kind)
    for most in (1, 100):
        monkeypatch.setattr(ap, "_GROUP", most)
        parts = average_precision(truth, results, kind)
        assert parts.stats == pytest.approx(whole.stats, abs=0, nan_ok=True)
        np.testing.assert_array_equal(parts.precision, whole.precision)


def test_classes_are_grouped_in_order_and_all():
    def groups(*counts):
        return [list(group) for group in ap._groups(np.array(counts), 10)]

    assert groups(3, 3, 3, 3) == [[0, 1, 2], [3]]
    assert groups(30, 3, 30, 0, 0) == [[0], [1], [2], [3, 4]]
    assert groups(0, 0) == [[0, 1]]
    assert groups(5) == [[0]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_some_images_are_scored_alone(root, source, tmp_path, kind):
    some = [1, 4, 9, 17, 30]  # of which number 4 has a crowd only
    results = [result for number, result in enumerate(guesses(source)) if number in some]
    write_results(tmp_path / "found.json", results, IDS, kind)
    evaluation = pycocotools_scores(
        root / "annotations/instances_val2017.json",
        tmp_path / "found.json",
        kind,
        [result.image_id for result in results],
    )
    found = average_precision(source.ground_truth(some), results, kind)
    assert_equal_to_pycocotools(found, evaluation)


def test_the_hundred_best_of_a_class_count(root, source, tmp_path):
    results = guesses(source, repeats=60)
    assert max(len(result.boxes) for result in results) > 150
    write_results(tmp_path / "found.json", results, IDS, "bbox")
    found = average_precision(source.ground_truth(range(len(source))), results, "bbox")
    assert_equal_to_pycocotools(
        found,
        pycocotools_scores(
            root / "annotations/instances_val2017.json", tmp_path / "found.json", "bbox"
        ),
    )


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_perfect_detections_score_one_and_crowds_are_neither_right_nor_wrong(source, kind):
    results = []
    for index in range(len(source)):
        found = source.instances(index)
        masks = [encode(bitmap(mask, found.size)) for mask in found.masks]
        scores = np.where(found.crowd, 0.99, np.linspace(0.5, 0.6, len(masks))).astype(np.float32)
        results.append(
            ImageResult(found.image_id, found.size, found.boxes, scores, found.classes, masks)
        )
    found = average_precision(source.ground_truth(range(len(source))), results, kind)
    assert found.stats["ap"] == found.stats["ap50"] == found.stats["ar100"] == pytest.approx(1)
    np.testing.assert_allclose(found.per_class, 1)


def test_nothing_found_scores_zero_and_nothing_to_find_scores_nan(source):
    truth = source.ground_truth(range(len(source)))
    empty = ImageResult(
        truth["images"][0]["id"],
        (9, 9),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
        [],
    )
    for results in ([], [empty]):
        for kind in ("bbox", "segm"):
            found = average_precision(truth, results, kind)
            assert found.stats["ap"] == found.stats["ar100"] == 0
            np.testing.assert_array_equal(found.per_class, np.zeros(3))
            nothing = average_precision({**truth, "annotations": []}, results, kind)
            assert np.isnan(list(nothing.stats.values())).all()
            assert np.isnan(nothing.per_class).all()
    lonely = average_precision({**truth, "annotations": []}, guesses(source), "bbox")
    assert np.isnan(lonely.stats["ap"])


def test_precision_by_hand():
    """Two objects of one class: found, missed in place, found; the other class has none."""
    truth = {
        "images": [{"id": 5, "height": 100, "width": 100}],
        "annotations": [
            {"id": 0, "image_id": 5, "category_id": 2, "bbox": box, "area": 400.0, "iscrowd": 0}
            for box in ([0, 0, 20, 20], [50, 50, 20, 20])
        ],
        "categories": [{"id": 2, "name": "a"}, {"id": 4, "name": "b"}],
    }
    boxes = np.array([[0, 0, 20, 20], [30, 0, 50, 20], [50, 50, 70, 66]], np.float32)
    result = ImageResult(
        5, (100, 100), boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32)
    )
    found = average_precision(truth, [result], "bbox")
    # The third overlaps by 0.8: up to there precision is 1 for recall 0 .. 0.5, then 2 / 3.
    full, half = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert found.stats["ap50"] == pytest.approx(full)
    assert found.stats["ap"] == pytest.approx((7 * full + 3 * half) / 10)
    assert found.per_class[0] == found.stats["ap"]
    assert np.isnan(found.per_class[1])
    assert found.precision.shape == (10, 101, 2)
    assert found.stats["ar1"] == pytest.approx(0.5)
    assert found.stats["ar100"] == pytest.approx((7 * 1 + 3 * 0.5) / 10)


def test_no_results_are_a_file_with_an_empty_list(tmp_path):
    write_results(tmp_path / "none.json", [], IDS, "bbox")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_inputs_of_scores_are_left_as_they_are(source):
    truth, results = source.ground_truth(range(5)), guesses(source)[:5]
    before = json.dumps(truth, default=repr)
    average_precision(truth, results, "segm")
    assert json.dumps(truth, default=repr) == before
