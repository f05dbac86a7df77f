import hashlib
import pickle
import time

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data import open_dataset
from inceptionnext_jax.data.decode import decode_rgb
from inceptionnext_jax.data.digits import split_digits
from inceptionnext_jax.data.sizes import known_sizes
from inceptionnext_jax.errors import UserError


def save(path, value=0, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(path, kind)


@pytest.fixture
def tree(tmp_path):
    """Two classes, three and two training images, one validation image each."""
    for value, name in enumerate(("train/b/2.JPEG", "train/b/10.jpg", "train/b/1.PNG")):
        save(tmp_path / name, value, "PNG")
    for name in ("train/a/x.jpeg", "train/a/y.WebP", "val/a/1.png", "val/b/1.bmp"):
        save(tmp_path / name)
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "readme.txt").write_text("no class")
    return tmp_path


# --- digits ---


def test_digits_split_never_changes():
    dataset = open_dataset("digits")
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (1438, 359, 10)
    names = "".join(dataset.eval[i].name for i in range(dataset.num_eval))
    assert hashlib.sha256(names.encode()).hexdigest() == SPLIT_SHA256


SPLIT_SHA256 = "ca4d9c0e2f6c7b9ad127d5508dba6f62577c29d6c48441d96f9e6ba877d8413f"


def test_digits_split_is_stratified_and_complete():
    from sklearn.datasets import load_digits

    labels = load_digits().target
    train, held_out = split_digits(labels)
    assert sorted([*train, *held_out]) == list(range(1797))
    share = np.bincount(labels[held_out]) - np.bincount(labels) * 359 / 1797
    assert np.abs(share).max() < 1
    dataset = open_dataset("digits")
    for source, indices in ((dataset.train, train), (dataset.eval, held_out)):
        assert [source[i].label for i in range(len(source))] == labels[indices].tolist()


def test_digits_are_files_that_decode_to_the_digit():
    from sklearn.datasets import load_digits

    example = open_dataset("digits").eval[0]
    assert example.image.startswith(b"\x89PNG")
    pixels = decode_rgb(example.image)
    assert pixels.shape == (32, 32, 3)
    number = int(example.name[-8:-4])
    digit = load_digits().images[number] * (255 / 16)
    small = pixels[:, :, 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(small.ravel(), digit.ravel())[0, 1] > 0.95


# --- synthetic ---


def test_synthetic_images_depend_only_on_index_class_split_and_seed():
    dataset = open_dataset("synthetic", image_size=32, num_classes=5)
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (1_281_167, 100, 5)
    example = dataset.train[1_000_003]
    assert example.image.shape == (32, 32, 3)
    assert example.image.dtype == np.uint8
    assert example.label == 1_000_003 % 5
    again = open_dataset("synthetic", image_size=32, num_classes=5).train[1_000_003]
    np.testing.assert_array_equal(example.image, again.image)
    other_seed = open_dataset("synthetic", image_size=32, num_classes=5, seed=1)
    assert (other_seed.train[0].image != dataset.train[0].image).any()
    assert (dataset.eval[0].image != dataset.train[0].image).any()
    assert open_dataset("synthetic").num_classes == 1000


def test_synthetic_classes_are_separable():
    dataset = open_dataset("synthetic", image_size=32, num_classes=10)
    images = np.stack([dataset.train[i].image for i in range(60)]).astype(float)
    means = images[:40].reshape(4, 10, -1).mean(0)
    distance = ((images[40:, None] - means.reshape(10, 32, 32, 3)) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == np.arange(40, 60) % 10).all()


# --- folders ---


def test_folder_lists_images_in_sorted_order_with_sorted_classes(tree):
    dataset = open_dataset("folder", str(tree))
    assert dataset.class_names == ("a", "b")
    names = [dataset.train[i].name for i in range(dataset.num_train)]
    assert [n.removeprefix(f"{tree}/train/") for n in names] == [
        "a/x.jpeg", "a/y.WebP", "b/1.PNG", "b/10.jpg", "b/2.JPEG",
    ]  # fmt: skip
    assert [dataset.train[i].label for i in range(5)] == [0, 0, 1, 1, 1]
    assert dataset.train[4].image == (tree / "train/b/2.JPEG").read_bytes()
    assert dataset.num_eval == 2


@pytest.mark.parametrize("name", ["validation", "test", "holdout"])
def test_folder_accepts_other_names_of_the_evaluation_folder(tree, name):
    (tree / "val").rename(tree / name)
    assert open_dataset("folder", str(tree), eval_split=name).num_eval == 2
    if name != "holdout":
        assert open_dataset("folder", str(tree)).num_eval == 2


def test_folder_may_have_only_one_split(tree):
    (tree / "val").rename(tree / "elsewhere")
    assert open_dataset("folder", str(tree)).eval is None
    (tree / "elsewhere").rename(tree / "val")
    (tree / "train").rename(tree / "elsewhere")
    dataset = open_dataset("folder", str(tree))
    assert dataset.train is None
    assert dataset.class_names == ("a", "b")


def test_evaluation_may_lack_a_class(tree):
    (tree / "val/a/1.png").unlink()
    (tree / "val/a").rmdir()
    dataset = open_dataset("folder", str(tree))
    assert dataset.num_eval == 1
    assert dataset.eval[0].label == 1


def test_folder_mistakes_are_named(tree, tmp_path):
    with pytest.raises(UserError, match=r"needs data.dir; expected DIR/train/<class>"):
        open_dataset("folder")
    with pytest.raises(UserError, match=r"nowhere is not a folder; expected DIR/train"):
        open_dataset("folder", str(tree / "nowhere"))
    with pytest.raises(UserError, match="neither a folder 'train' nor"):
        open_dataset("folder", str(tree / "train"))
    with pytest.raises(UserError, match="not the name of a folder inside"):
        open_dataset("folder", str(tree), eval_split="../val")
    with pytest.raises(UserError, match=r"num_classes=1, but data set folder has 2 classes"):
        open_dataset("folder", str(tree), num_classes=1)
    (tree / "val" / "aa").mkdir()
    with pytest.raises(UserError, match=r"class 'aa'.*did you mean a"):
        open_dataset("folder", str(tree))
    (tree / "train" / "aa").mkdir()
    with pytest.raises(UserError, match="aa holds no images"):
        open_dataset("folder", str(tree))
    (tree / "bare" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no class folders"):
        open_dataset("folder", str(tree / "bare"))


def test_vanished_image_is_named(tree):
    dataset = open_dataset("folder", str(tree))
    (tree / "train/a/x.jpeg").unlink()
    with pytest.raises(UserError, match=r"cannot read image .*x\.jpeg"):
        dataset.train[0]


# --- all of them ---


@pytest.mark.parametrize("name", ["digits", "synthetic", "folder"])
def test_sources_pickle(name, tree):
    source = open_dataset(name, str(tree), image_size=16).train
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source)
    for index in (0, len(source) - 1):
        left, right = source[index], copy[index]
        np.testing.assert_array_equal(left.image, right.image)
        assert left[1:] == right[1:]


def test_known_sizes_are_those_of_the_data():
    assert known_sizes("imagenet2012") == (1_281_167, 50_000, 1000)
    assert known_sizes("my_own") is None
    for name in ("digits", "synthetic"):
        dataset = open_dataset(name)
        assert known_sizes(name) == (dataset.num_train, dataset.num_eval, dataset.num_classes)


def test_synthetic_images_are_cheap():
    source = open_dataset("synthetic").train
    best = min(_seconds(source, start) for start in range(0, 60, 10))
    assert best / 10 < 0.005


def _seconds(source, start):
    begin = time.process_time()
    for index in range(start, start + 10):
        source[index]
    return time.process_time() - begin
