"""`predict` of a detector: rows, JSON lines, pictures and files of objects."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE = (75, 113)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the same photograph twice."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    pixels = data.chelsea()[::4, ::4]
    for name in ("a/x.png", "b/x.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def predict(capsys, *arguments):
    """(exit code, lines on standard output, lines on standard error)."""
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_files_and_json_lines_are_the_objects(saved_detector, folder, tmp_path, capsys):
    to = tmp_path / "objects"
    flags = ("--to", to, "--json", "--threshold", 0)
    code, out, err = predict(capsys, saved_detector, folder, *flags)
    assert (code, err) == (0, [])
    paths = [f"{folder}/{name}" for name in ("a/x.png", "b/x.jpg")]
    assert sorted(path.name for path in to.iterdir()) == [
        "x-2_detections.json", "x-2_picture.png", "x_detections.json", "x_picture.png",
    ]  # fmt: skip
    network = inx.load_pretrained(saved_detector)
    expected = inx.predict(network, paths, threshold=0)
    for line, name, one in zip(out, ("x", "x-2"), expected, strict=True):
        found = json.loads(line)
        assert found.pop("picture") == f"{to}/{name}_picture.png"
        assert found.pop("detections") == f"{to}/{name}_detections.json"
        assert json.loads((to / f"{name}_detections.json").read_text()) == found
        assert (found["path"], found["size"]) == (one.path, list(SIZE))
        assert len(found["objects"]) == len(one.scores) > 0
        for i, thing in enumerate(found["objects"]):
            assert thing["class"] == one.classes[i]
            assert thing["name"] == one.names[i] == ("cat", "dog", "tram")[one.classes[i]]
            assert thing["score"] == pytest.approx(one.scores[i], abs=1e-6)
            np.testing.assert_allclose(thing["box"], one.boxes[i], atol=1e-3)
            mask = coco_mask.decode(thing["mask"])
            assert mask.shape == SIZE
            own = {"size": list(SIZE), "counts": one.masks[i]}
            np.testing.assert_array_equal(mask, coco_mask.decode(own))
        with Image.open(to / f"{name}_picture.png") as picture:
            shown = set(map(tuple, np.asarray(picture).reshape(-1, 3).tolist()))
            assert picture.width == 6 * SIZE[1]
        assert {network.colors[k] for k in one.classes} <= shown


def test_rows_have_scores_names_and_boxes_and_nothing_is_written(
    saved_detector, folder, capsys, tmp_path
):
    path = folder / "a/x.png"
    code, out, err = predict(capsys, saved_detector, path, "--topk", 2, "--threshold", 0)
    assert (code, err) == (0, [])
    (one,) = inx.predict(inx.load_pretrained(saved_detector), [path], topk=2, threshold=0)
    rows = [line.split("\t") for line in out[1:]]
    assert [row[:3] for row in rows] == [
        [str(rank), f"{score:.4f}", name]
        for rank, score, name in zip((1, 2), one.scores, one.names, strict=True)
    ]
    np.testing.assert_allclose([list(map(float, row[3:])) for row in rows], one.boxes, atol=0.06)
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_objects_has_a_picture_and_an_empty_list(
    saved_detector, folder, tmp_path, capsys
):
    flags = ("--threshold", 1, "--to", tmp_path)
    code, out, err = predict(capsys, saved_detector, folder / "a/x.png", *flags)
    assert (code, out, err) == (0, [f"{folder}/a/x.png"], [])
    assert json.loads((tmp_path / "x_detections.json").read_text())["objects"] == []
    with Image.open(tmp_path / "x_picture.png") as picture:
        assert picture.size == (6 * SIZE[1], 6 * SIZE[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{detector}", "{folder}", "--batch-size", "2"], "batch_size is for classifiers"),
        (["{detector}", "{folder}", "--to", "{folder}/a/x.png"], "x.png is a file"),
        (["{detector}", "{folder}", "--threshold", "2"], "threshold=2.0 is not a number from 0"),
        (["{classifier}", "{folder}", "--threshold", "0.5"], "threshold is for detectors"),
        (["{classifier}", "{folder}", "--to", "{folder}/new"], "is a classifier; leave it out"),
    ],
)
def test_mistakes_are_one_line(saved_detector, saved, folder, capsys, arguments, message):
    places = {"detector": saved_detector, "classifier": saved, "folder": folder}
    code, out, (line,) = predict(capsys, *(text.format(**places) for text in arguments))
    assert (code, out) == (2, [])
    assert line.startswith("error: ")
    assert message in line
    assert not (folder / "new").exists()


def test_an_unreadable_image_is_reported_and_left_out(saved_detector, folder, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    to = tmp_path / "to"
    code, out, (line,) = predict(capsys, saved_detector, bad, folder / "a/x.png", "--to", to)
    assert (code, out[0]) == (2, f"{folder}/a/x.png")
    assert "cannot decode" in line
    assert sorted(path.name for path in to.iterdir()) == ["x_detections.json", "x_picture.png"]
