import pickle

import numpy as np
import pytest

from inceptionnext_jax.data.label_map_catalog import open_label_maps, register_label_maps
from inceptionnext_jax.data.label_maps import IGNORED, LabelMapDataset, LabelRule
from inceptionnext_jax.errors import UserError


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"ade20k, digit_scenes, pairs, synthetic; did you mean pai"
    ):
        open_label_maps("pair")
    with pytest.raises(UserError, match=r"data\.name=imagenet2012 is unknown to this task"):
        open_label_maps("imagenet2012")


def test_data_sets_are_added_from_outside():
    def opener(dir, train_split, eval_split):
        names = (str(dir), train_split, eval_split)
        return LabelMapDataset("own", None, None, names, LabelRule(3), ((0, 0, 0),) * 3)

    register_label_maps("fields", opener)
    dataset = open_label_maps("fields", "here", train_split="a", eval_split="b")
    assert dataset.class_names == ("here", "a", "b")
    assert (dataset.name, dataset.num_train, dataset.num_eval) == ("fields", 0, 0)


def test_synthetic_label_maps_fit_their_images():
    dataset = open_label_maps("synthetic", image_size=50, num_classes=300, seed=4)
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (20_210, 20, 300)
    source = pickle.loads(pickle.dumps(dataset.train))
    color_of, seen = {}, set()
    for index in range(60):
        example = source[index]
        assert example.image.shape == (50, 50, 3)
        assert example.image.dtype == np.uint8
        np.testing.assert_array_equal(example.image, dataset.train[index].image)
        classes = dataset.rule(example.label, example.name)
        assert (classes == IGNORED).any(1).sum() == 3
        assert (classes[-3:] == IGNORED).all()
        for number in set(classes[:-3].ravel().tolist()):
            pixels = example.image[classes == number].astype(int)
            assert np.ptp(pixels, axis=0).max() < 64  # one colour and its noise
            color_of.setdefault(number, pixels.min(0))
            assert np.abs(color_of[number] - pixels.min(0)).max() < 16
            seen.add(number)
    assert len(seen) > 250
    other_seed = open_label_maps("synthetic", image_size=50, num_classes=300).train[0].label
    assert (other_seed != source[0].label).any()
    assert (dataset.eval[0].label != source[0].label).any()


def test_synthetic_label_maps_of_any_size_have_their_size():
    for size in (4, 33, 512):
        example = open_label_maps("synthetic", image_size=size).eval[1]
        assert example.label.shape == (size, size)
