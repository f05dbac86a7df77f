"""Fixtures of the command-line tests."""

import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.data.label_maps import voc_palette
from inceptionnext_jax.pretrained import DensePreprocessing, DetectionPreprocessing
from tests.models.oracle import random_variables
from tests.tiny_imagenet import tiny_array_record, tiny_tfrecord

__all__ = ["saved", "tiny_array_record", "tiny_tfrecord"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a shallow atto of three classes."""
    folder = tmp_path_factory.mktemp("saved") / "w"
    options = {"stage_depths": (1, 1, 1, 1)}
    variables = random_variables(inx.create_model("inceptionnext_atto", num_classes=3, **options))
    return inx.save_pretrained(folder, inx.Pretrained("inceptionnext_atto", variables, options))


@pytest.fixture(scope="module")
def saved_system(tmp_path_factory):
    """A folder with a shallow network of segmentation of five classes."""
    name, options = "upernet_inceptionnext_atto", {"stage_depths": (1, 1, 1, 1), "channels": 16}
    variables = random_variables(inx.create_model(name, num_classes=5, **options))
    before = DensePreprocessing.of(inx.model_info(name), {"image_size": 64})
    names, palette = ("wall", "sky", "tree", "road", "sea"), voc_palette(6)[1:]
    network = inx.Pretrained(name, variables, options, before, names, palette=palette)
    return inx.save_pretrained(tmp_path_factory.mktemp("system") / "w", network)


@pytest.fixture(scope="module")
def saved_detector(tmp_path_factory):
    """A folder with a shallow Mask R-CNN of three classes."""
    name = "mask_rcnn_inceptionnext_atto"
    options = {"stage_depths": (1, 1, 1, 1), "channels": 16, "fc_channels": 32}
    options |= {"proposals": 20, "rois": 8, "detections": 6}
    variables = random_variables(inx.create_model(name, num_classes=3, **options))
    given = {"resize": (128, 96), "canvases": ((96, 128), (128, 96))}
    before = DetectionPreprocessing.of(inx.model_info(name), given)
    network = inx.Pretrained(name, variables, options, before, ("cat", "dog", "tram"))
    return inx.save_pretrained(tmp_path_factory.mktemp("detector") / "w", network)
