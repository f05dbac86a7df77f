"""`predict` of a network of segmentation: rows, JSON lines, label maps and overlays."""

import json

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.cli.label_map_files import label_picture
from inceptionnext_jax.data.label_maps import LabelRule, voc_palette
from inceptionnext_jax.explain.segments import overlaid

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `a/x.png`, `b/x.jpg` and `b/x-2.png`, of one size."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    pixels = data.chelsea()[::4, ::4]
    for name in ("a/x.png", "b/x-2.png", "b/x.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def predict(capsys, *arguments):
    """(exit code, lines on standard output, lines on standard error)."""
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_files_and_json_lines_are_those_of_the_label_maps(saved_system, folder, tmp_path, capsys):
    to = tmp_path / "maps"
    code, out, err = predict(capsys, saved_system, folder, "--to", to, "--json")
    assert (code, err) == (0, [])
    loaded = inx.load_pretrained(saved_system)
    paths = [f"{folder}/{name}" for name in ("a/x.png", "b/x-2.png", "b/x.jpg")]
    names = ["x", "x-2", "x-3"]  # the second and third x must not replace x-2
    assert sorted(path.name for path in to.iterdir()) == sorted(
        f"{name}_{kind}.png" for name in names for kind in ("labels", "overlay")
    )
    for line, name, one in zip(out, names, inx.predict(loaded, paths), strict=True):
        found = json.loads(line)
        assert found["path"] == one.path
        assert found["size"] == [75, 113]
        assert found["labels"] == f"{to}/{name}_labels.png"
        assert found["overlay"] == f"{to}/{name}_overlay.png"
        assert [k["class"] for k in found["classes"]] == one.classes.tolist()
        assert [k["name"] for k in found["classes"]] == one.names
        np.testing.assert_allclose([k["share"] for k in found["classes"]], one.shares)
        with Image.open(found["labels"]) as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(np.asarray(picture), one.label_map)
            colors = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(colors, np.array(loaded.palette)[one.label_map])
        with open(found["labels"], "rb") as file:  # as data to train on
            classes = LabelRule(5)(file.read(), name)
        np.testing.assert_array_equal(classes, one.label_map)
        with Image.open(found["overlay"]) as picture:
            assert picture.width > 4 * 113 + 250
            shown = np.asarray(picture)
        assert {tuple(loaded.palette[k]) for k in one.classes} <= set(
            map(tuple, shown[:, -270:].reshape(-1, 3).tolist())
        )


def test_rows_are_classes_by_area_and_nothing_is_written(saved_system, folder, capsys, tmp_path):
    path = folder / "a/x.png"
    code, out, err = predict(capsys, saved_system, path, "--topk", 2)
    assert (code, err) == (0, [])
    (one,) = inx.predict(inx.load_pretrained(saved_system), [path])
    assert out == [str(path)] + [
        f"{rank}\t{share:.4f}\t{name}"
        for rank, share, name in zip((1, 2), one.shares, one.names, strict=False)
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{system}", "{folder}", "--batch-size", "2"], "batch_size is for classifiers"),
        (["{system}", "{folder}", "--to", "{folder}/a/x.png"], "x.png is a file"),
        (["{classifier}", "{folder}", "--to", "{folder}/new"], "is a classifier; leave it out"),
    ],
)
def test_mistakes_are_one_line(saved_system, saved, folder, capsys, arguments, message):
    places = {"system": saved_system, "classifier": saved, "folder": folder}
    code, out, (line,) = predict(capsys, *(text.format(**places) for text in arguments))
    assert (code, out) == (2, [])
    assert line.startswith("error: ")
    assert message in line
    assert not (folder / "new").exists()


def test_an_unreadable_image_is_reported_and_left_out(saved_system, folder, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    to = tmp_path / "to"
    code, out, (line,) = predict(capsys, saved_system, bad, folder / "a/x.png", "--to", to)
    assert (code, out[0]) == (2, f"{folder}/a/x.png")
    assert "cannot decode" in line
    assert sorted(path.name for path in to.iterdir()) == ["x_labels.png", "x_overlay.png"]


def test_more_classes_than_a_palette_holds_are_16_bit_grey(tmp_path):
    label_map = np.arange(300, dtype=np.int16).reshape(15, 20)
    path = tmp_path / "x.png"
    label_picture(label_map, voc_palette(300)).save(path)
    with Image.open(path) as picture:
        assert picture.mode.startswith("I")
        np.testing.assert_array_equal(np.asarray(picture), label_map)
    np.testing.assert_array_equal(LabelRule(300, None)(path.read_bytes(), "x"), label_map)


def test_an_overlay_blends_colours_and_hatches_what_has_no_label():
    image = np.full((40, 40, 3), 100, np.uint8)
    label_map = np.zeros((40, 40), np.int16)
    label_map[:, 20:], label_map[30:] = 1, -1
    found = overlaid(image, label_map, [(200, 0, 0), (0, 200, 0)]).astype(int)
    np.testing.assert_array_equal(found[5, 5], [165, 35, 35])
    np.testing.assert_array_equal(found[5, 30], [35, 165, 35])
    np.testing.assert_array_equal(found[5, 19], np.round(0.55 * np.array([165, 35, 35])))
    below = found[31:].reshape(-1, 3)
    assert (below.max(axis=1) - below.min(axis=1)).max() <= 1  # grey
    assert len(np.unique(below[:, 0])) >= 2
