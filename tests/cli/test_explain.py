"""`explain cam` and `explain erf`: pictures, and the numbers in them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.explain.explained import explain_images, receptive_field
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from tests.models.oracle import random_variables

BEFORE = Preprocessing(64, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Folders of two shallow networks of three classes, of other families and sizes."""
    folders = []
    for name, size in (("inceptionnext_atto", 64), ("convnext_atto", 48)):
        options = {"stage_depths": (1, 1, 1, 1)}
        variables = random_variables(inx.create_model(name, num_classes=3, **options))
        before = Preprocessing(size, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
        network = Pretrained(name, variables, options, before, ("cat", "cup", "dog"))
        folders.append(inx.save_pretrained(tmp_path_factory.mktemp(name), network))
    return folders


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    for name, pixels in (("cat", data.chelsea()), ("cup", data.coffee())):
        (folder / name).mkdir()
        Image.fromarray(pixels).save(folder / name / "1.png")
    return folder


def explain(*arguments):
    return main(["explain", *map(str, arguments)])


def test_cam_writes_a_grid_of_images_and_networks(networks, photographs, tmp_path, capsys):
    to = tmp_path / "cam.png"
    command = ["cam", networks[0], photographs, "--to", to, "--beside", networks[1]]
    assert explain(*command, "--layer", "stages_1", "--method", "gradcam++") == 0
    assert capsys.readouterr().out == f"wrote {to}: 2 images × 2 networks\n"
    with Image.open(to) as picture:
        assert picture.width > 3 * 224
        assert np.asarray(picture).std() > 20
    arrays = np.load(tmp_path / "cam.npz")
    assert list(arrays["paths"]) == [f"{photographs}/cat/1.png", f"{photographs}/cup/1.png"]
    for index, folder in enumerate(networks):
        network = inx.load_pretrained(folder)
        paths = [Path(str(path)) for path in arrays["paths"]]
        pixels = np.stack([network.preprocessing.pixels(path.read_bytes()) for path in paths])
        expected = explain_images(network, pixels, "stages_1", "gradcam++")
        np.testing.assert_allclose(arrays[f"maps_{index}"], expected.maps, rtol=1e-5)
        np.testing.assert_array_equal(arrays[f"classes_{index}"], expected.classes)
        assert arrays[f"heat_{index}"].shape[1:] == pixels.shape[1:3]
    assert {path.name for path in tmp_path.iterdir()} == {"cam.png", "cam.npz"}


def test_a_class_can_be_named_and_the_map_made_finer(networks, photographs, tmp_path):
    to = tmp_path / "cam.png"
    command = ["cam", networks[0], photographs / "cat/1.png", "--to", to]
    assert explain(*command, "--target", "dog", "--output-stride", 8) == 0
    arrays = np.load(tmp_path / "cam.npz")
    assert list(arrays["classes_0"]) == [2]
    assert arrays["maps_0"].shape == (1, 8, 8)
    assert str(arrays["layer_0"]) == "stages_3"


def test_labels_of_folders_tell_right_from_wrong(networks):
    from inceptionnext_jax.cli.explain_cam import _tiles
    from inceptionnext_jax.explain.explained import Explained

    network = inx.load_pretrained(networks[0])
    found = Explained(
        "stages_3", *np.zeros((2, 3, 64, 64), np.float32), np.array([0, 0, 0]), np.full(3, 0.5)
    )
    paths = ["x/cat/1.png", "x/dog/1.png", "x/1.png"]
    tiles = _tiles(network, np.zeros((3, 64, 64, 3), np.uint8), found, paths)
    assert [tile.tone for tile in tiles] == ["right", "wrong", "plain"]
    assert [tile.text for tile in tiles] == ["0.50 cat", "0.50 cat, is dog", "0.50 cat"]


def test_erf_prints_areas_and_writes_fields(networks, photographs, tmp_path, capsys):
    to = tmp_path / "erf.png"
    assert explain("erf", networks[0], photographs, "--to", to) == 0
    header, row, last = capsys.readouterr().out.splitlines()
    assert header.split("\t")[1:] == ["20%", "30%", "50%", "99%"]
    assert row.startswith(f"{networks[0]} (inceptionnext_atto)\t")
    assert all(0 < float(cell.rstrip("%")) <= 100 for cell in row.split("\t")[1:])
    assert last == f"wrote {to}"
    network = inx.load_pretrained(networks[0])
    paths = sorted(photographs.rglob("*.png"))
    pixels = np.stack([network.preprocessing.pixels(path.read_bytes()) for path in paths])
    field = np.load(tmp_path / "erf.npz")["field_0"]
    np.testing.assert_allclose(field, receptive_field(network, pixels), rtol=1e-5)
    with Image.open(to) as picture:
        assert np.asarray(picture).std() > 20


def test_unreadable_images_are_left_out_and_reported(networks, photographs, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no image")
    command = ["cam", networks[0], tmp_path / "bad.png"]
    assert explain(*command, photographs / "cat/1.png", "--to", tmp_path / "cam.png") == 2
    captured = capsys.readouterr()
    assert "1 images" in captured.out
    assert f"error: image {tmp_path}/bad.png" in captured.err or "bad.png" in captured.err
    assert explain(*command, "--to", tmp_path / "none.png") == 2
    assert "none of the images can be read" in capsys.readouterr().err
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "x.jpg"], "must end in .png"),
        (["--to", "none/x.png"], "there is no folder"),
        (["--to", "x.png", "--layer", "stages_9"], "gives no map"),
        (["--to", "x.png", "--target", "cta"], "did you mean cat"),
        (["--to", "x.png", "--beside", "nothing"], "holds no weights"),
    ],
)
def test_mistakes_are_one_line(
    networks, photographs, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert explain("cam", networks[0], photographs / "cat/1.png", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []
