import pickle

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.decode import decode_rgb
from inceptionnext_jax.data.label_map_catalog import known_label_maps, open_label_maps
from inceptionnext_jax.data.label_maps import IGNORED
from inceptionnext_jax.errors import UserError
from tests.ade20k import NUM_EVAL, NUM_TRAIN, write_ade20k


@pytest.fixture
def root(tmp_path):
    return write_ade20k(tmp_path)


def test_both_splits_are_read_and_stored_ids_become_classes(root):
    dataset = open_label_maps("ade20k", str(root))
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (NUM_TRAIN, NUM_EVAL, 150)
    sizes = set()
    for source, split in ((dataset.train, "training"), (dataset.eval, "validation")):
        for example, path in zip(source, sorted((root / "images" / split).iterdir()), strict=True):
            assert example.name == str(path)
            stored = np.asarray(Image.open(root / "annotations" / split / f"{path.stem}.png"))
            classes = dataset.rule(example.label, example.name)
            np.testing.assert_array_equal(classes, stored.astype(int) - 1)
            assert {IGNORED, 149} <= set(classes.ravel())
            assert decode_rgb(example.image).shape == (*classes.shape, 3)
            sizes.add(classes.shape)
    assert len(sizes) == NUM_TRAIN + NUM_EVAL


def test_parent_folder_and_other_names_of_the_splits_are_understood(root):
    one = open_label_maps("ade20k", str(root), train_split="training", eval_split="validation")
    other = open_label_maps("ade20k", str(root.parent), train_split="train", eval_split="val")
    assert [a == b for a, b in zip(one.train, other.train, strict=True)] == [True] * NUM_TRAIN
    assert other.eval[3] == one.eval[3]
    assert pickle.loads(pickle.dumps(one.train))[5] == one.train[5]
    swapped = open_label_maps("ade20k", str(root), train_split="validation")
    assert swapped.num_train == NUM_EVAL


def test_names_and_colours_are_those_of_mmsegmentation(root):
    dataset = open_label_maps("ade20k", str(root))
    published = {  # mmseg/datasets/ade.py
        0: ("wall", (120, 120, 120)),
        7: ("bed", (204, 5, 255)),
        12: ("person", (150, 5, 61)),
        76: ("boat", (173, 255, 0)),
        89: ("television receiver", (0, 255, 194)),
        126: ("animal", (255, 0, 122)),
        149: ("flag", (92, 0, 255)),
    }
    for number, (name, color) in published.items():
        assert dataset.class_names[number] == name
        assert dataset.palette[number] == color
    assert len(set(dataset.class_names)) == len(dataset.palette) == 150


def test_absent_data_have_their_published_sizes():
    dataset = known_label_maps("ade20k")
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (20_210, 2_000, 150)
    with pytest.raises(UserError, match="not here"):
        dataset.train[0]
    assert known_label_maps("pairs") is None


FETCH = r"fetch ADEChallengeData2016\.zip \(923 MB\) from data\.csail\.mit\.edu.*set data\.dir to"


def test_each_missing_part_says_what_to_fetch_and_where_to_put_it(root):
    def refused(message, directory=root):
        with pytest.raises(UserError, match=f"{message}.*{FETCH}"):
            open_label_maps("ade20k", None if directory is None else str(directory))

    refused("ade20k needs data.dir", None)
    refused("data.dir=.*nowhere is not a folder", root / "nowhere")
    refused("no folder images/training", root / "images")
    (root / "annotations/validation/ADE_val_00000002.png").unlink()
    refused(r"ADE_val_00000002\.jpg \(1 of 4 such\) has no label map .*ADE_val_00000002\.png")
    (root / "annotations/training").rename(root / "elsewhere")
    refused("has no folder of label maps .*annotations/training")
    (root / "images/validation").rename(root / "images/other")
    (root / "elsewhere").rename(root / "annotations/training")
    refused("no folder images/validation")
