"""Transforms and orders of detection, against the functions of `data`."""

import pickle

import numpy as np
import pytest

from configs.tasks import detection
from inceptionnext_jax.data import detection_augment
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.decode import BadImageError
from inceptionnext_jax.data.instance_catalog import open_instances
from inceptionnext_jax.data.resize import resize_image
from inceptionnext_jax.tasks.detection import build
from inceptionnext_jax.tasks.detection.transform import (
    PLAIN,
    EvalTransform,
    View,
    make_views,
)

CANVASES = ((96, 128), (128, 96))


@pytest.fixture(scope="module")
def dataset():
    return open_instances("synthetic", image_size=60, num_classes=4, seed=4)


def config(**changes):
    found = detection.get_config()
    detection.debug(found)
    name = "mask_rcnn_inceptionnext_atto"
    found.update_from_flattened_dict({"data.canvases": CANVASES, "model.name": name, **changes})
    return found


@pytest.mark.parametrize("name", ["mask_rcnn_inceptionnext_atto", "retinanet_inceptionnext_atto"])
def test_training_arrays_are_those_of_the_augmentation(dataset, name):
    given = build.training_input(config(**{"model.name": name}), dataset)
    assert [transform.canvas for transform in given.transforms] == list(CANVASES)
    random = np.random.default_rng(0)
    for transform in map(pickle.loads, map(pickle.dumps, given.transforms)):
        for index in range(4):
            example, uniforms = dataset.train[index], random.random(transform.num_uniforms)
            arrays = transform(example, uniforms)
            assert set(arrays) == set(transform.spec)
            for key, spec in transform.spec.items():
                assert (arrays[key].shape, arrays[key].dtype) == (spec.shape, spec.dtype), key
            size = example.label.size
            plan = detection_augment.draw_plan(transform.recipe, size, transform.canvas, uniforms)
            image = detection_augment.augment_image(plan, example.image)
            height, width = arrays["size"]
            np.testing.assert_array_equal(arrays["image"][:height, :width], image)
            assert not arrays["image"][height:].any()
            assert not arrays["image"][:, width:].any()
            side = 28 if name.startswith("mask") else None
            wanted = detection_augment.object_arrays(plan, example.label, 8, side)
            assert ("masks" in wanted) == name.startswith("mask")
            for key, value in wanted.items():
                np.testing.assert_array_equal(arrays[key], value)


def test_a_training_batch_has_images_of_one_canvas(dataset):
    given = build.training_input(config(), dataset)
    order = given.order(8)
    for step in range(6):
        numbers = [order.index(step, position) for position in range(8)]
        upright = order.transform(step)  # every other image
        assert {number % 2 for number in numbers} == {upright}


def test_evaluation_shows_every_image_once_on_its_canvas(dataset):
    given = build.build(config(), dataset).evaluation
    order = given.order(3)
    seen = []
    for step in range(order.num_steps):
        transform = given.transforms[order.transform(step)]
        for index in (order.index(step, position) for position in range(3)):
            if index < 0:
                continue
            seen.append(index)
            example = dataset.eval[index]
            arrays = transform(example, np.empty(0))
            assert arrays["original"].tolist() == list(example.label.size)
            height, width = arrays["size"]
            assert sorted((height, width)) == [96, 128]
            assert arrays["image"].shape == (height, width, 3)  # of equal size: no padding
            resized = resize_image(example.image, (int(height), int(width)))
            np.testing.assert_array_equal(arrays["image"], resized)
    assert sorted(seen) == list(range(20))


def test_views_are_scaled_and_mirrored():
    views = make_views((0.5, 1.0, 1.5), True)
    assert views[0] == PLAIN
    assert len(set(views)) == 6
    assert make_views((1.0,), False) == (PLAIN,)
    assert View(1.5, False).canvas((96, 128)) == (160, 192)
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    transform = EvalTransform((128, 96), (96, 128), views)
    arrays = transform.arrays(image, "x")
    assert set(arrays) == set(transform.spec)
    for number, view in enumerate(views):
        suffix = f"_{number}" if number else ""
        height, width = arrays[f"size{suffix}"]
        assert (height, width) == (96 * view.scale, 128 * view.scale)
        wanted = resize_image(image, (int(height), int(width)))
        flipped = resize_image(np.ascontiguousarray(image[:, ::-1]), (int(height), int(width)))
        pixels = arrays[f"image{suffix}"][:height, :width]
        np.testing.assert_array_equal(pixels, flipped if view.mirrored else wanted)


def test_images_of_another_size_than_annotated_are_damaged(dataset):
    example = dataset.eval[0]
    wrong = Example(example.image[:-1], example.label, "x.jpg")
    for transform in (
        build.train_transform(config(), (128, 128)),
        EvalTransform((128, 96), (128, 128)),
    ):
        with pytest.raises(BadImageError, match="the image has 80 × 59 pixels"):
            transform(wrong, np.zeros(transform.num_uniforms))
