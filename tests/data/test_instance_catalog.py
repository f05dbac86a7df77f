import pickle

import numpy as np
import pytest

from inceptionnext_jax.data import digit_scenes
from inceptionnext_jax.data.instance_catalog import open_instances, register_instances
from inceptionnext_jax.data.instance_masks import bitmaps
from inceptionnext_jax.data.instances import InstanceDataset
from inceptionnext_jax.errors import UserError


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"coco, digit_scenes, synthetic; did you mean coco"):
        open_instances("coc")
    with pytest.raises(UserError, match=r"data\.name=ade20k is unknown to this task"):
        open_instances("ade20k")


def test_data_sets_are_added_from_outside():
    def opener(dir, train_split, eval_split):
        return InstanceDataset("own", None, None, (str(dir), eval_split), (1, 2), False)

    register_instances("fields", opener)
    dataset = open_instances("fields", "here", eval_split="b")
    assert (dataset.name, dataset.class_names, dataset.num_train) == ("fields", ("here", "b"), 0)


def test_digit_scenes_are_images_with_digits_as_objects():
    dataset = open_instances("digit_scenes")
    assert (dataset.num_train, dataset.num_eval) == (1000, 100)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.category_ids == tuple(range(1, 11))
    for source, split in (
        (dataset.train, digit_scenes.TRAIN),
        (dataset.eval, digit_scenes.HELD_OUT),
    ):
        sizes = source.sizes
        for index in range(20):
            made, example = digit_scenes.scene(0, split, index), source[index]
            found = example.label
            np.testing.assert_array_equal(example.image, made.image)
            assert found.size == made.image.shape[:2] == tuple(sizes[index].tolist())
            np.testing.assert_array_equal(found.boxes, made.boxes)
            np.testing.assert_array_equal(found.classes, made.digits)
            np.testing.assert_array_equal(bitmaps(found.masks, found.size), made.masks)
            assert found.area.tolist() == made.masks.sum((1, 2)).tolist()
            assert not found.crowd.any()
        assert source[7].name.endswith("/0007")
        with pytest.raises(IndexError):
            source[len(source)]
    truth = dataset.eval.ground_truth([3, 5])
    assert [image["id"] for image in truth["images"]] == [4, 6]
    assert truth["categories"][9] == {"id": 10, "name": "9"}


def test_synthetic_objects_fit_their_images():
    dataset = open_instances("synthetic", image_size=60, num_classes=30, seed=4)
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (117_266, 20, 30)
    source = pickle.loads(pickle.dumps(dataset.train))
    classes = set()
    for index in range(30):
        example = source[index]
        found = example.label
        height, width = found.size
        assert example.image.shape == (height, width, 3)
        assert tuple(source.sizes[index].tolist()) == found.size
        assert found.size == ((60, 80) if index % 2 == 0 else (80, 60))
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [width, height, width, height]).all()
        masks = bitmaps(found.masks, found.size)
        assert masks.sum((1, 2)).tolist() == found.area.tolist()
        for mask, (x1, y1, x2, y2) in zip(masks, found.boxes.astype(int), strict=True):
            assert mask[y1:y2, x1:x2].all()
        classes |= set(found.classes.tolist())
    assert classes == set(range(30))
    other = open_instances("synthetic", image_size=60, num_classes=30).train[0]
    assert (other.image != source[0].image).any()
    assert (dataset.eval[0].image != source[0].image).any()
    truth = dataset.eval.ground_truth(range(20))
    assert len(truth["annotations"]) == 140
    assert {a["category_id"] for a in truth["annotations"]} <= set(dataset.category_ids)
