import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.label_map_catalog import open_label_maps
from inceptionnext_jax.data.label_maps import IGNORED, voc_palette
from inceptionnext_jax.errors import UserError

IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Three training pairs, two of them in folders, one evaluation pair, strays."""
    for number, name in enumerate(("train/b.jpg", "train/x/a.PNG", "train/x/c.webp", "val/b.png")):
        save(tmp_path / "images" / name, np.full((2, 3, 3), 50 * number, np.uint8))
        save(tmp_path / "labels" / f"{os.path.splitext(name)[0]}.png", IDS)
    save(tmp_path / "labels/train/unused.png", IDS)
    (tmp_path / "images/train/readme.txt").write_text("no image")
    (tmp_path / "images/train/._b.jpg").write_text("no image either")
    (tmp_path / "classes.txt").write_text("sky\ntraffic light\r\nroad\n\n")
    return tmp_path


def refused(root, message, **options):
    with pytest.raises(UserError, match=message):
        open_label_maps("pairs", str(root), **options)


def test_images_are_listed_with_their_label_maps(root):
    dataset = open_label_maps("pairs", str(root))
    assert dataset.class_names == ("sky", "traffic light", "road")
    assert dataset.palette == voc_palette(3)
    names = [example.name.removeprefix(f"{root}/images/train/") for example in dataset.train]
    assert names == ["b.jpg", "x/a.PNG", "x/c.webp"]
    for example in dataset.train:
        assert example.image == Path(example.name).read_bytes()
        np.testing.assert_array_equal(dataset.rule(example.label, example.name), IDS)
    assert dataset.num_eval == 1
    assert pickle.loads(pickle.dumps(dataset.train))[1] == dataset.train[1]


@pytest.mark.parametrize("name", ["annotations", "masks"])
def test_folder_of_label_maps_has_several_names_but_must_be_one(root, name):
    (root / "labels").rename(root / name)
    assert open_label_maps("pairs", str(root)).num_train == 3
    (root / "labels").mkdir()
    refused(root, f"has the folders 'labels' and '{name}', .* keep one")


def test_either_split_may_be_missing(root):
    (root / "images/val").rename(root / "images/other")
    assert open_label_maps("pairs", str(root)).eval is None
    refused(root, r"cannot|no folder of label maps .*labels/other", eval_split="other")
    (root / "images/other").rename(root / "images/validation")
    (root / "labels/val").rename(root / "labels/validation")
    (root / "images/train").rename(root / "elsewhere")
    dataset = open_label_maps("pairs", str(root), eval_split="val")
    assert dataset.train is None
    assert dataset.num_eval == 1
    (root / "images/validation").rename(root / "images/gone")
    refused(
        root, "has neither a folder 'train' nor one of 'val', .*; expected DIR/classes.txt, DIR"
    )


def test_options_and_colours_reach_the_rule(root):
    example = open_label_maps("pairs", str(root)).train[0]
    rule = open_label_maps("pairs", str(root), ignore_index=1, reduce_zero_label=True).rule
    np.testing.assert_array_equal(rule(example.label, "a"), np.array([[-1, -1, 1], [1, -1, -1]]))
    (root / "classes.txt").write_text("sky 0 0 9\ntraffic light\t255\t0\t7\n- 9 9 9\n")
    dataset = open_label_maps("pairs", str(root))
    assert dataset.class_names == ("sky", "traffic light")
    assert dataset.palette == ((0, 0, 9), (255, 0, 7))
    colors = np.array([*dataset.palette, (9, 9, 9)], np.uint8)[IDS]
    np.testing.assert_array_equal(dataset.rule(colors, "a"), np.where(IDS == 2, IGNORED, IDS - 0.0))


def test_a_class_list_may_give_each_class_its_stored_id(root):
    stored = np.array([[0, 255, 7], [1, 255, 0]], np.uint8)
    (root / "classes.txt").write_text("0: background\n255: traffic light 255 0 7\n7: -\n1 : -\n")
    refused(root, "gives class 'background' no colour")
    (root / "classes.txt").write_text("0: background\n255: traffic light\n7: -\n1 : -\n")
    dataset = open_label_maps("pairs", str(root))  # ignore_index=255
    assert dataset.class_names == ("background", "traffic light")
    np.testing.assert_array_equal(dataset.rule(stored, "a"), [[0, 1, -1], [-1, 1, 0]])
    with pytest.raises(UserError, match=r"has id 9, but 2 classes have the ids 0, 255 and 1, 7 \("):
        dataset.rule(np.full((1, 1), 9), "a")
    refused(root, "gives each class its id, so data.reduce_zero_label", reduce_zero_label=True)


def test_images_without_label_map_are_counted_and_the_first_is_named(root):
    (root / "labels/train/b.png").unlink()
    (root / "labels/train/x/c.png").unlink()
    refused(
        root, r"image .*train/b\.jpg \(2 of 3 such\) has no label map .*labels/train/b\.png; exp"
    )


def test_missing_folders_and_ambiguous_images_are_refused(root):
    with pytest.raises(UserError, match=r"pairs needs data.dir; expected DIR/classes.txt"):
        open_label_maps("pairs")
    refused(root / "nowhere", "nowhere is not a folder; expected")
    refused(root, "is not the name of a folder inside", train_split="../images")
    save(root / "images/train/b.png", IDS)
    refused(root, r"images b\.jpg and b\.png in .* have the same label map")
    (root / "images").rename(root / "photographs")
    refused(root, "has no folder 'images'")
    (root / "labels").rename(root / "ids")
    refused(root, "has no folder 'labels' or 'annotations' or 'masks'; expected")
    (root / "classes.txt").unlink()
    refused(root, r"classes\.txt is missing; write the name of one class a line")


def test_an_empty_split_is_refused(root):
    for path in (root / "images/val").iterdir():
        path.unlink()
    refused(root, r"images/val holds no images \(\.jpeg, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky\n\nroad\n", r"line 2 is empty; remove it, since a class's line gives its number"),
        ("sky\nroad\nsky\n", r"line 3: class 'sky' is there twice"),
        ("sky 0 0 256\n", r"line 1: colour 0 0 256 is not in 0 to 255"),
        ("sky 0 0 1\nroad\n", r"gives class 'road' no colour, but others have one"),
        ("sky\nroad\n- 1 2 3\n", r"gives class 'sky' no colour"),
        ("sky 1 2 3\n-\n", r"line 2: '-' has no colour"),
        ("sky 1 2 3\nroad 1 2 3\n", r"gives 'sky' and 'road' the same colour \(1, 2, 3\)"),
        ("sky 1 2 3\n- 1 2 3\n", r"gives 'sky' and '-' the same colour"),
        ("- 1 2 3\n", "names no class"),
        ("0: sky\nroad\n", r"gives class 'road' no id, but others have one; .* \(such as '7: sky'"),
        ("sky\n7: -\n", r"gives class 'sky' no id"),
        ("0: sky\n0: road\n", r"line 2: id 0 is there twice"),
        ("0: sky\n65536: road\n", r"line 2: id 65536 is not in 0 to 65535"),
        ("", "line 1 is empty|names no class"),
    ],
)
def test_mistakes_in_the_class_list_are_named(root, text, message):
    (root / "classes.txt").write_text(text)
    refused(root, message)


def test_class_list_of_another_encoding_is_named(root):
    (root / "classes.txt").write_bytes("Straße".encode("latin-1"))
    refused(root, "not a readable text file in UTF-8")
    (root / "classes.txt").write_bytes("\ufeffStraße 9\nRoad\nx".encode())
    assert open_label_maps("pairs", str(root)).class_names == ("Straße 9", "Road", "x")


def test_vanished_files_are_named(root):
    dataset = open_label_maps("pairs", str(root))
    (root / "labels/train/b.png").unlink()
    with pytest.raises(UserError, match=r"cannot read label map .*labels/train/b\.png"):
        dataset.train[0]
    (root / "images/val/b.png").unlink()
    with pytest.raises(UserError, match=r"cannot read image .*images/val/b\.png"):
        dataset.eval[0]


def test_loops_of_links_end(root):
    (root / "images/train/loop").symlink_to(root / "images/train", target_is_directory=True)
    assert open_label_maps("pairs", str(root)).num_train == 3
