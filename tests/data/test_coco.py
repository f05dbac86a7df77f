import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from inceptionnext_jax.data.decode import BadImageError, decode_rgb
from inceptionnext_jax.data.instance_catalog import known_instances, open_instances
from inceptionnext_jax.data.instance_masks import bitmap
from inceptionnext_jax.data.instances import check_pixels, training_images
from inceptionnext_jax.errors import UserError
from tests.coco import CROWDED, EMPTY, NUM_EVAL, NUM_TRAIN, SMALL, write_coco, write_images


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path)


def json_of(root, split="train2017"):
    return root / "annotations" / f"instances_{split}.json"


def changed(root, change, split="train2017"):
    """Changes an annotation file in place."""
    content = json.loads(json_of(root, split).read_text())
    change(content)
    json_of(root, split).write_text(json.dumps(content))


def refused(root, message, **options):
    with pytest.raises(UserError, match=message):
        open_instances("coco", str(root), **options)


def kept_by_mmdetection(annotation, image):
    """mmdetection's rule (CocoDataset.parse_data_info), written down again."""
    x, y, w, h = annotation["bbox"]
    inter_w = max(0, min(x + w, image["width"]) - max(x, 0))
    inter_h = max(0, min(y + h, image["height"]) - max(y, 0))
    return not (
        annotation.get("ignore", False)
        or inter_w * inter_h == 0
        or annotation["area"] <= 0
        or w < 1
        or h < 1
        or annotation["category_id"] not in (3, 17, 90)
    )


def test_examples_are_what_pycocotools_reads(root, capsys):
    dataset = open_instances("coco", str(root))
    assert (dataset.name, dataset.num_train, dataset.num_eval) == ("coco", NUM_TRAIN - 2, NUM_EVAL)
    assert dataset.class_names == ("car", "cat", "toothbrush")  # by id, not as listed
    assert dataset.category_ids == (3, 17, 90)
    assert dataset.has_masks
    for split, source in (("train2017", dataset.train), ("val2017", dataset.eval)):
        api = COCO(json_of(root, split))
        seen = set()
        for example, size in zip(source, source.sizes.tolist(), strict=True):
            found = example.label
            image = api.imgs[found.image_id]
            assert example.name == str(root / split / image["file_name"])
            assert found.size == (image["height"], image["width"]) == tuple(size)
            check_pixels(decode_rgb(example.image), found, example.name)
            expected = api.imgToAnns[found.image_id]
            assert len(expected) == len(found.masks)
            for index, annotation in enumerate(expected):
                x, y, w, h = annotation["bbox"]
                assert found.boxes[index].tolist() == [x, y, x + w, y + h]
                assert dataset.category_ids[found.classes[index]] == annotation["category_id"]
                assert found.crowd[index] == annotation["iscrowd"]
                assert found.area[index] == annotation["area"]
                drawn = bitmap(found.masks[index], found.size)
                np.testing.assert_array_equal(drawn, api.annToMask(annotation))
            kinds = (found.boxes.dtype, found.classes.dtype, found.crowd.dtype, found.area.dtype)
            assert kinds == (np.float32, np.int32, bool, np.float64)
            seen.add(found.image_id)
        assert len(seen) == len(source)
        with pytest.raises(IndexError):
            source[len(source)]


def test_training_leaves_out_images_without_annotations_and_small_ones(root):
    dataset = open_instances("coco", str(root))
    ids = [example.label.image_id for example in dataset.train]
    numbers = [number for number in range(NUM_TRAIN) if number not in (EMPTY, SMALL)]
    assert ids == [7 * (100 + number) for number in numbers]
    assert dataset.train[numbers.index(CROWDED)].label.crowd.tolist() == [True]
    assert len(dataset.eval[EMPTY].label.boxes) == 0
    assert dataset.eval[EMPTY].label.boxes.shape == (0, 4)
    assert dataset.eval.sizes[SMALL].min() == 30
    selected = training_images(dataset.eval)
    truth = selected.ground_truth(range(len(selected)))
    assert {image["id"] for image in truth["images"]} == {7 * (900 + i) for i in (0, 1, 3, 4)}
    assert selected.annotated.all()


def test_unusable_annotations_are_left_out_as_in_mmdetection(root):
    """Boxes outside, cut boxes, boxes and areas of zero, thin boxes, ignored and unknown ones."""
    changes = [
        {"bbox": [-20.0, 5, 30, 10]},
        {"bbox": [-20.0, 5, 20, 10]},
        {"bbox": [5.0, -40, 3000, 3000]},
        {"bbox": [500.0, 5, 20, 10]},
        {"bbox": [5.0, 5, 0, 10]},
        {"bbox": [5.0, 5, 0.9, 10]},
        {"area": 0.0},
        {"category_id": 4},
        {"ignore": 1},
        {"iscrowd": 1},
        {"image_id": 12345},
        {},
    ]

    def change(content):
        first = content["annotations"][1] | {"iscrowd": 0}
        content["annotations"] = [first | one | {"id": i} for i, one in enumerate(changes, 1)]

    changed(root, change)
    content = json.loads(json_of(root).read_text())
    image = content["images"][0]
    owned = [a for a in content["annotations"] if a["image_id"] == image["id"]]
    expected = [a for a in owned if kept_by_mmdetection(a, image)]
    train = open_instances("coco", str(root)).train
    assert len(train) == 1
    found = train[0].label
    assert len(found.boxes) == len(expected) == 4
    height, width = found.size
    assert found.boxes[0].tolist() == [0, 5, 10, 15]
    assert found.boxes[1].tolist() == [5, 0, width, height]
    assert found.crowd.tolist() == [False, False, True, False]
    known = [a for a in owned if a["category_id"] != 4]
    truth = train.ground_truth([0])["annotations"]  # scores count all of them, as pycocotools does
    assert [a["bbox"] for a in truth] == [a["bbox"] for a in known]
    assert [a["area"] for a in truth] == [a["area"] for a in known]


def test_what_others_leave_out_has_defaults(root):
    def change(content):
        for annotation in content["annotations"]:
            if not annotation["iscrowd"]:
                del annotation["iscrowd"], annotation["area"]
        del content["annotations"][4]["segmentation"], content["info"]

    changed(root, change)
    dataset = open_instances("coco", str(root))
    assert not dataset.has_masks
    found = dataset.train[0].label
    assert found.crowd.tolist() == [True, False, False, False, False]
    for index in (1, 2, 3):
        assert found.area[index] == bitmap(found.masks[index], found.size).sum()
    x1, y1, x2, y2 = found.boxes[4].tolist()
    assert found.area[4] == (x2 - x1) * (y2 - y1)
    assert found.masks[4] is None
    changed(root, lambda content: content.pop("annotations"), "val2017")  # as for test images
    dataset = open_instances("coco", str(root))
    assert dataset.num_eval == NUM_EVAL
    assert dataset.eval.ground_truth(range(NUM_EVAL))["annotations"] == []


def test_an_annotation_without_a_proper_polygon_is_left_out(root):
    def change(content):
        content["annotations"][2]["segmentation"] = [[1, 2, 3, 4]]
        content["annotations"][3]["segmentation"] = []

    changed(root, change)
    dataset = open_instances("coco", str(root))
    assert len(dataset.train[0].label.boxes) == 3
    assert dataset.has_masks


def test_other_layouts_of_the_same_format(tmp_path):
    content = write_images(tmp_path / "train", 4, 0)
    (tmp_path / "train/_annotations.coco.json").write_text(json.dumps(content))
    dataset = open_instances(
        "coco",
        str(tmp_path),
        train_split="train",
        train_json="train/_annotations.coco.json",
    )
    assert (dataset.num_train, dataset.eval) == (3, None)
    for image in content["images"]:
        image["file_name"] = f"train/{image['file_name']}"
    (tmp_path / "all.json").write_text("\ufeff" + json.dumps(content))
    options = {"train_split": "none", "eval_split": ".", "eval_json": str(tmp_path / "all.json")}
    dataset = open_instances("coco", str(tmp_path), **options)
    assert (dataset.train, dataset.num_eval) == (None, 4)
    decode_rgb(dataset.eval[0].image)


def test_sources_are_compact_and_reach_worker_processes(root):
    dataset = open_instances("coco", str(root))
    copy = pickle.loads(pickle.dumps(dataset.train))
    for one, other in zip(dataset.train, copy, strict=True):
        assert one.image == other.image
        np.testing.assert_array_equal(one.label.boxes, other.label.boxes)
    arrays = vars(dataset.eval.annotations)
    assert not [name for name, value in arrays.items() if isinstance(value, list | dict | tuple)]


FETCH = r"fetch train2017\.zip .*val2017\.zip .*annotations_trainval2017\.zip .*set data\.dir to it"


def test_each_missing_part_says_what_to_fetch_and_where_to_put_it(root):
    with pytest.raises(UserError, match=f"data.name=coco needs data.dir; {FETCH}"):
        open_instances("coco")
    refused(root / "nowhere", f"nowhere is not a folder; {FETCH}")
    refused(root, f"no annotations of 'a' or 'b'; {FETCH}", train_split="a", eval_split="b")
    refused(root, rf"own\.json is missing, the annotations of .*; {FETCH}", eval_json="own.json")
    refused(root, "is not the name of a folder inside", train_split="../coco/train2017")
    (root / "train2017/000000000101.jpg").unlink()
    refused(root, rf"names 1 images of 10 that are missing, such as .*101\.jpg; {FETCH}")
    (root / "train2017").rename(root / "elsewhere")
    refused(root, rf"train2017 is missing, the images of .*train2017\.json; {FETCH}")
    json_of(root).unlink()
    assert open_instances("coco", str(root)).train is None
    json_of(root, "val2017").unlink()
    refused(root, rf"val2017\.json is missing, the annotations of .*val2017; {FETCH}")


def test_damaged_files_are_named(root):
    path = json_of(root)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    refused(root, r"instances_train2017\.json is not readable as JSON \(.*char")
    path.write_bytes(b"\xff\xfe\x00")
    refused(root, "not readable as JSON")
    path.write_text("[" * 200_000)
    refused(root, "not readable as JSON")
    for text in ("[]", "{}", '{"images": 1}', '{"images": [1], "categories": []}'):
        path.write_text(text)
        refused(root, "has no list 'images'; expected a file in COCO's format")
    path.write_text('{"images": [], "categories": [], "annotations": 3}')
    refused(root, "'annotations' of .* is not a list")


@pytest.mark.parametrize(
    ("key", "index", "change", "message"),
    [
        ("images", 0, {"file_name": "../a.jpg"}, r"no path inside the images' folder"),
        ("images", 0, {"file_name": "/etc/passwd"}, r"no path inside the images' folder"),
        ("images", 0, {"id": "7"}, r"image without a whole 'id'"),
        ("images", 0, {"id": 10**30}, r"image without a whole 'id'"),
        ("images", 0, {"id": 707}, r"lists image id 707 twice"),
        ("images", 0, {"height": 0}, r"no 'height' and 'width' in whole pixels"),
        ("categories", 0, {"name": 3}, r"category without a whole 'id' and a 'name'"),
        ("categories", 0, {"id": 3}, r"gives the categories 'cat' and 'car' one id"),
        ("annotations", 3, {"bbox": [1, 2, 3]}, r"annotation 1004 of .*needs a 'bbox' of four"),
        ("annotations", 3, {"bbox": None}, r"needs a 'bbox' of four numbers"),
        ("annotations", 3, {"area": "big"}, r"a number as 'area'"),
        ("annotations", 3, {"area": float("inf")}, r"a number that is not finite"),
        ("annotations", 3, {"image_id": None}, r"annotation 1004 has no whole number 'image_id'"),
        ("annotations", 3, {"category_id": "3"}, r"no whole number 'category_id'"),
        ("annotations", 3, {"segmentation": 5}, r"has a wrong 'segmentation': it is neither"),
        ("annotations", 3, {"segmentation": {"size": [1, 1], "counts": [1]}}, "of size"),
    ],
)
def test_wrong_entries_are_named(root, key, index, change, message):
    changed(root, lambda content: content[key][index].update(change))
    refused(root, message)


def test_splits_must_agree_and_have_something(root):
    changed(root, lambda content: content["categories"][0].update(name="dog"), "val2017")
    refused(root, r"category 17 'dog', but the training split's 17 is 'cat'")
    changed(root, lambda content: content["categories"].pop(0), "val2017")
    assert open_instances("coco", str(root)).class_names == ("car", "cat", "toothbrush")
    changed(root, lambda content: content.update(annotations=[]))
    refused(root, "no image of .*train2017 has annotations")
    changed(root, lambda content: content.update(images=[]))
    refused(root, "lists no images")
    changed(root, lambda content: content.update(categories=[]))
    refused(root, "names no category")


def test_images_of_another_size_are_bad_images(root):
    example = open_instances("coco", str(root)).eval[0]
    height, width = example.label.size
    Image.new("RGB", (width, height + 1)).save(example.name)
    again = open_instances("coco", str(root)).eval[0]
    with pytest.raises(BadImageError, match=rf"has {width} × {height + 1} pixels, .* {height}; "):
        check_pixels(decode_rgb(again.image), again.label, again.name)


def test_absent_data_have_their_published_sizes_and_names():
    dataset = known_instances("coco")
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (117_266, 5_000, 80)
    named = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    assert set(range(1, 91)) - set(named) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    published = {  # the ends of the gaps in annotations/instances_val2017.json
        1: "person", 11: "fire hydrant", 13: "stop sign", 25: "giraffe", 27: "backpack",
        28: "umbrella", 31: "handbag", 44: "bottle", 46: "wine glass", 65: "bed",
        67: "dining table", 70: "toilet", 72: "tv", 82: "refrigerator", 84: "book",
        90: "toothbrush",
    }  # fmt: skip
    assert published.items() <= named.items()
    with pytest.raises(UserError, match="not here"):
        dataset.train[0]
    assert known_instances("digit_scenes") is None
