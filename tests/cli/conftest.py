"""Fixtures of the command-line tests."""

import pytest

import inceptionnext_jax as inx
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
