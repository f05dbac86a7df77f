"""Pictures of an evaluation: the right images, counted as pycocotools counts."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from inceptionnext_jax.data.coco import open_coco
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.tasks.detection.ap import average_precision, coco_results
from inceptionnext_jax.tasks.detection.pictures import (
    THRESHOLD,
    draw_curves,
    draw_worst_images,
    mistakes,
)
from tests.coco import write_coco
from tests.tasks.detection.test_ap import IDS, guesses

NAMES = ("person", "a class with a very long name", "toothbrush")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_coco(tmp_path_factory.mktemp("pictures"), num_train=7, num_eval=40)
    return open_coco(str(root)).eval


def test_missed_and_false_detections_are_pycocotools(source):
    truth, results = source.ground_truth(range(40)), guesses(source)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        sure = [one for one in coco_results(results, IDS, "bbox") if one["score"] >= THRESHOLD]
        evaluation = COCOeval(known, known.loadRes(sure), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
    expected = {}
    for one in evaluation.evalImgs:
        if one is None or one["aRng"] != evaluation.params.areaRng[0]:
            continue
        missed, false = expected.get(one["image_id"], (0, 0))
        real = ~np.asarray(one["gtIgnore"], bool)
        missed += (one["gtMatches"][0][real] == 0).sum()
        wrong = (one["dtMatches"][0] == 0) & ~one["dtIgnore"][0].astype(bool)
        expected[one["image_id"]] = (missed, false + wrong.sum())
    found = mistakes(truth, results)
    assert len(found) == 40
    for one in found:
        assert (one.missed, one.false) == expected.get(one.result.image_id, (0, 0))
    counts = [one.missed + one.false for one in found]
    assert counts == sorted(counts, reverse=True)
    assert sum(one.missed for one in found) > 10
    assert sum(one.false for one in found) > 10
    assert any(one.ignored.any() for one in found)
    assert any(entry["iscrowd"] for one in found for entry in one.objects)


def test_only_the_worst_images_are_read_and_damaged_ones_left_out(source, tmp_path):
    truth, results = source.ground_truth(range(40)), guesses(source)
    order = [one.number for one in mistakes(truth, results)]
    read = []

    def example(number):
        read.append(number)
        found = source[number]
        return Example(b"damaged", found.label, "x") if number == order[1] else found

    path = tmp_path / "worst.png"
    assert draw_worst_images(truth, results, NAMES, example, path)
    assert read == order[:7]
    assert Image.open(path).width > 1000
    np.testing.assert_array_equal(
        [truth["images"][number]["id"] for number in order],
        [one.result.image_id for one in mistakes(truth, results)],
    )


def test_nothing_is_drawn_where_nothing_is_wrong(source, tmp_path):
    truth = source.ground_truth(range(4))
    truth["annotations"].clear()
    empty = guesses(source)[7]._replace(image_id=truth["images"][2]["id"])
    assert not len(empty.boxes)
    path = tmp_path / "worst.png"
    assert not draw_worst_images(truth, [empty], NAMES, source.__getitem__, path)
    assert not path.exists()


@pytest.mark.parametrize("kinds", [("bbox", "segm"), ("bbox",)])
def test_curves_have_a_row_for_each_kind(source, tmp_path, kinds):
    truth, results = source.ground_truth(range(40)), guesses(source)
    scores = {kind: average_precision(truth, results, kind) for kind in kinds}
    path = tmp_path / "curves.png"
    draw_curves(scores, NAMES, path)
    picture = Image.open(path)
    assert picture.height > 400 * len(kinds)
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 30


def test_curves_without_any_object_are_empty(source, tmp_path):
    truth = source.ground_truth(range(4))
    truth["annotations"].clear()
    scores = {"bbox": average_precision(truth, [], "bbox")}
    draw_curves(scores, NAMES, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
