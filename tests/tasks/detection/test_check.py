"""What is wrong with a config of detection is said in sentences that name the key."""

import numpy as np
import pytest

from configs.tasks import detection
from inceptionnext_jax.data.instances import InstanceDataset
from inceptionnext_jax.tasks.check import check
from inceptionnext_jax.tasks.detection import build


def config(**changes):
    found = detection.get_config()
    detection.debug(found)
    found.model.name = "mask_rcnn_inceptionnext_atto"
    with found.ignore_type():
        found.update_from_flattened_dict(changes)
    return found


def retinanet(**changes):
    return config(
        **{
            "model.name": "retinanet_inceptionnext_atto", "head.fc_channels": None,
            "head.rois": None, **changes,
        }
    )  # fmt: skip


def test_the_defaults_are_valid():
    assert check(detection.get_config(), devices=1) == []
    assert check(config(batch_size=8), devices=8) == []
    assert check(retinanet(), devices=1) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("data.canvases", ((128, 100),), "data.canvases=((128, 100),) must be pairs of height and"),
        ("data.canvases", ((128, 128), (128, 128)), "none of them twice"),
        ("data.canvases", (), "data.canvases=() must be pairs"),
        ("data.canvases", (128, 128), "data.canvases=(128, 128) must be pairs"),
        ("data.resize", (128,), "data.resize=(128,) must be two whole numbers > 0"),
        ("data.max_objects", 0, "data.max_objects=0 must be > 0"),
        ("data.mask_size", 2.5, "data.mask_size=2.5 must be a whole number"),
        ("augment.shorts", (), "augment.shorts=() must be whole numbers > 0"),
        ("augment.crop_shorts", (0,), "augment.crop_shorts=(0,) must be whole numbers > 0"),
        ("augment.crop", (600, 384), "augment.crop=(600, 384) must be two numbers"),
        ("augment.crop_prob", 1.5, "augment.crop_prob=1.5 must be in [0, 1]"),
        ("loss.rpn_weight", -1, "loss.rpn_weight=-1.0 must be >= 0"),
        ("eval.scales", (0.5,), "eval.scales=(0.5,) must be numbers in (0, 8], and 1 among them"),
        ("eval.scales", (1, 1.0), "eval.scales=(1, 1.0) must differ"),
        ("model.name", "inceptionnext_tiny", "this task takes mask_rcnn_inceptionnext_tiny or"),
        ("model.name", "upernet_inceptionnext_tiny", "is not a known model"),
        ("head.rois", 0, "head.rois"),
        ("head.roi_align_impl", "fast", "head.roi_align_impl"),
        ("checkpoint.best_metric", "eval/box_ap_ms", "measured with several views only"),
    ],
)
def test_each_mistake_is_a_sentence(key, value, expected):
    (problem,) = check(config(**{key: value}), devices=1)
    assert expected in problem
    assert key in problem


def test_options_and_metrics_that_a_system_lacks_are_refused():
    (problem,) = check(retinanet(**{"head.rois": 8}), devices=1)
    assert "head.rois" in problem
    (problem,) = check(retinanet(**{"checkpoint.best_metric": "eval/mask_ap"}), devices=1)
    assert problem.endswith("finds none; take box_ap")


class Images:
    """A source of which only sizes are known."""

    def __init__(self, *sizes, annotated=True):
        self.sizes = np.array(sizes, np.int32)
        self.annotated = np.full(len(sizes), annotated)

    def __len__(self):
        return len(self.sizes)


def data(train=((90, 128),), evaluation=((90, 128),), has_masks=True, annotated=True):
    names = ("a", "b", "c", "d")
    return InstanceDataset(
        "own", Images(*train), Images(*evaluation, annotated=annotated), names, (1, 2, 3, 4),
        has_masks,
    )  # fmt: skip


def test_data_that_do_not_fit_the_config_are_refused():
    assert build.check_data(config(), data()) == []
    (problem,) = build.check_data(config(**{"model.num_classes": 5}), data())
    assert "has 4 classes; leave it unset" in problem
    (problem,) = build.check_data(config(), data(has_masks=False))
    assert "take retinanet_" in problem
    assert build.check_data(retinanet(), data(has_masks=False)) == []
    (problem,) = build.check_data(config(), data(annotated=False))
    assert problem.startswith("no evaluation image has an annotation")


def test_images_that_fit_no_canvas_are_refused():
    """100 × 200 pixels become 64 × 128, and upright ones are 64 wide."""
    one = {"data.canvases": ((96, 128),)}
    assert build.check_data(config(**one), data(train=((100, 200),))) == []
    (problem,) = build.check_data(config(**one), data(evaluation=((100, 200), (200, 100))))
    assert "do not hold images of 100 × 200 pixels, which are resized to 64 × 128" in problem
    assert problem.endswith("add (128, 64)")
    both = {"data.canvases": ((96, 128), (128, 96))}
    assert build.check_data(config(**both), data(evaluation=((100, 200), (200, 100)))) == []
