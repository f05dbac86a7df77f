"""Whole runs of detection: killed, on several devices and processes, on a miniature COCO."""

import contextlib
import io
import json
import math

import pytest

from tests.coco import write_coco
from tests.runs import (
    CACHE,
    assert_same_arrays,
    killed_at_random,
    main_py,
    metrics,
    saved_arrays,
    two_processes,
)

NARROW = {
    "model.stage_depths": (1, 1, 1, 1),
    "model.depthwise_impl": "conv",
    "head.channels": 8,
    "head.fc_channels": 16,
    "head.proposals": 16,
    "head.rois": 8,
    "head.detections": 6,
    "data.mask_size": 28,
    "data.cache": False,
    "compilation_cache": CACHE,
    "log.every_steps": 1,
    "log.tensorboard": False,
    "checkpoint.every_steps": 2,
    "eval.every_steps": 0,
}
SMALL = {
    **NARROW,
    "data.resize": (64, 64),
    "data.canvases": ((64, 64),),
    "augment.shorts": (48, 64),
    "augment.long": 64,
    "batch_size": 8,
    "optim.lr_batch_size": 8,
    "total_steps": 6,
    "schedule.warmup_steps": 2,
}
FILES = ("detections.json", "detections_segm.json")
TERMS = ("rpn_cls", "rpn_box", "cls", "box", "mask")


def flags(workdir, **changes):
    pairs = {**SMALL, **changes}.items()
    config = "--config=configs/detection/digits.py"
    return [config, f"--workdir={workdir}", *(f"--config.{key}={value}" for key, value in pairs)]


def report(workdir):
    return json.loads((workdir / "eval.json").read_text())["eval"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run without interruption, on one device."""
    workdir = tmp_path_factory.mktemp("scenes")
    main_py(*flags(workdir), check=True)
    return workdir


def test_lines_and_reports_have_the_tasks_metrics(trained):
    lines = metrics(trained)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        terms = [line[f"train/loss_{name}"] for name in TERMS]
        assert all(math.isfinite(term) and term >= 0 for term in terms)
        assert line["train/loss"] == pytest.approx(sum(terms), rel=1e-5)
    found = report(trained)
    assert lines[-1]["eval/box_ap"] == found["box_ap"]
    assert lines[-1]["eval/mask_ap50"] == found["mask_ap50"]
    assert found["box_ap_large"] is None  # no digit is that large
    assert found["count"] == 100
    assert found["detections"] == sum(row["detections"] for row in found["per_class"].values())
    assert list(found["per_class"]) == list("0123456789")
    rows = (trained / "per_class.csv").read_text().splitlines()
    assert rows[0] == "class,box_ap,box_ap50,mask_ap,mask_ap50,objects,detections"
    assert len(rows) == 11
    meta = json.loads((trained / "config.json").read_text())
    assert meta["preprocessing"]["canvases"] == [[64, 64]]
    for picture in ("precision_recall.png", "worst.png"):
        assert (trained / picture).stat().st_size > 1000
    for file in FILES:
        assert len(json.loads((trained / file).read_text())) == found["detections"]


def evaluated(trained, workdir, devices=1, **changes):
    """The detections of the last checkpoint."""
    step = f"--checkpoint={trained}/checkpoints/6"
    main_py(*flags(workdir, **changes), "--mode=eval", step, devices=devices, check=True)
    return detections(workdir)


def detections(workdir):
    return [(workdir / file).read_text() for file in FILES]


def test_detections_are_exact_at_any_batch_size(trained, tmp_path):
    assert evaluated(trained, tmp_path, **{"batch_size": 3}) == detections(trained)


@pytest.mark.slow
def test_detections_are_exact_on_any_devices_and_processes(trained, tmp_path):
    wanted = detections(trained)
    assert evaluated(trained, tmp_path / "1", **{"batch_size": 1}) == wanted
    big = {"batch_size": 16}
    assert evaluated(trained, tmp_path / "16", **big) == wanted
    assert evaluated(trained, tmp_path / "8", devices=8, **big) == wanted
    two = tmp_path / "two"
    step = f"--checkpoint={trained}/checkpoints/6"
    two_processes(*flags(two, **big), "--mode=eval", step)
    assert detections(two) == wanted


@pytest.mark.slow
def test_eight_devices_agree_with_one(trained, tmp_path):
    main_py(*flags(tmp_path), devices=8, check=True)
    for one, eight in zip(metrics(trained), metrics(tmp_path), strict=True):
        assert eight["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)


def test_killed_it_ends_with_the_same_bits(trained, tmp_path):
    killed_at_random(flags(tmp_path), kills=1)
    assert_same_arrays(saved_arrays(trained, 6), saved_arrays(tmp_path, 6))
    assert report(tmp_path) == report(trained)


@pytest.mark.slow
def test_ten_kills_leave_no_trace(trained, tmp_path):
    killed_at_random(flags(tmp_path), kills=10)
    assert_same_arrays(saved_arrays(trained, 6), saved_arrays(tmp_path, 6))
    assert report(tmp_path) == report(trained)


def mini_coco(folder, **changes):
    """Trains two steps on a miniature COCO and evaluates; returns (its folder, the workdir)."""
    root = write_coco(folder)
    pairs = {
        **NARROW,
        "data.dir": root,
        "data.workers": 0,
        "data.resize": (128, 96),
        "data.canvases": ((128, 128),),
        "augment.shorts": (64, 96),
        "augment.long": 128,
        "augment.crop_prob": 0.5,
        "augment.crop_shorts": (64,),
        "augment.crop": (32, 64),
        "batch_size": 2,
        "total_steps": 2,
        **changes,
    }
    overrides = [f"--config.{key}={value}" for key, value in pairs.items()]
    config = "--config=configs/detection/mask_rcnn_convnext_tiny.py"
    workdir = folder / "run"
    main_py(config, f"--workdir={workdir}", *overrides, check=True, timeout=900)
    return root, workdir


def scores_of_pycocotools(annotations, results, kind):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


NAMES = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


@pytest.mark.parametrize("views", ["plain", pytest.param("several", marks=pytest.mark.slow)])
def test_a_miniature_coco_trains_and_is_scored_as_by_pycocotools(tmp_path, views):
    changes = {}
    if views == "several":
        changes = {"eval.scales": (1.0, 1.5), "eval.flip": True}
        changes["data.canvases"] = ((96, 128), (128, 96))
    root, workdir = mini_coco(tmp_path, **changes)
    last = metrics(workdir)[-1]
    assert last["step"] == 2
    assert last["eval/count"] == 6
    found = report(workdir)
    annotations = root / "annotations/instances_val2017.json"
    for kind, prefix, file in zip(("bbox", "segm"), ("box", "mask"), FILES, strict=True):
        wanted = scores_of_pycocotools(annotations, workdir / file, kind)
        for name, value in zip(NAMES, wanted, strict=True):
            ours = found[f"{prefix}_{name}"]
            assert (-1 if ours is None else ours) == pytest.approx(value, abs=1e-12), name
    assert ("eval/box_ap_ms" in last) == (views == "several")
    assert list(found["per_class"]) == ["car", "cat", "toothbrush"]
