"""`explain cam` and `explain erf`: pictures, and the arrays beside them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.explain.images import explain_images, receptive_field
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from tests.models.oracle import random_variables

BEFORE = Preprocessing(64, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Folders of two shallow networks of three classes, from two families and of two sizes."""
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


def test_target_and_output_stride_choose_class_and_map_size(networks, photographs, tmp_path):
    to = tmp_path / "cam.png"
    command = ["cam", networks[0], photographs / "cat/1.png", "--to", to]
    assert explain(*command, "--target", "dog", "--output-stride", 8) == 0
    arrays = np.load(tmp_path / "cam.npz")
    assert list(arrays["classes_0"]) == [2]
    assert arrays["maps_0"].shape == (1, 8, 8)
    assert str(arrays["layer_0"]) == "stages_3"


def test_folder_names_mark_right_and_wrong_answers(networks):
    from inceptionnext_jax.cli.explain_cam import _captions
    from inceptionnext_jax.explain.images import Explanation

    network = inx.load_pretrained(networks[0])
    found = Explanation(
        "stages_3", *np.zeros((2, 3, 64, 64), np.float32), np.array([0, 0, 0]), np.full(3, 0.5)
    )
    paths = ["x/cat/1.png", "x/dog/1.png", "x/1.png"]
    assert _captions(network, found, paths) == [
        ("0.50 cat", "right"),
        ("0.50 cat, is dog", "wrong"),
        ("0.50 cat", "plain"),
    ]


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


def network_of(folder, name, class_names, **options):
    """A saved network for 64 pixels with random weights."""
    variables = random_variables(inx.create_model(name, num_classes=len(class_names), **options))
    if name.startswith("vanillanet"):
        variables["host"]["slope"] = np.float32(1)
    network = Pretrained(name, variables, options, BEFORE, class_names)
    return inx.save_pretrained(folder / name, network)


@pytest.mark.slow
def test_cam_compares_four_networks_as_in_inceptionnexts_paper(photographs, tmp_path, capsys):
    one = {"stage_depths": (1, 1, 1, 1)}
    names = ("resnet50", "swin_tiny", "convnext_atto", "inceptionnext_atto")
    first, *others = (network_of(tmp_path, name, ("cat", "cup"), **one) for name in names)
    beside = [word for folder in others for word in ("--beside", folder)]
    to = tmp_path / "four.png"
    assert explain("cam", first, photographs, "--to", to, *beside) == 0
    assert capsys.readouterr().out == f"wrote {to}: 2 images × 4 networks\n"
    arrays = np.load(tmp_path / "four.npz")
    for index, folder in enumerate([first, *others]):
        assert str(arrays[f"source_{index}"]) == str(folder)
        assert arrays[f"maps_{index}"].shape == (2, 2, 2)
    picture = np.asarray(Image.open(to)).astype(int)
    assert picture.shape[1] == 2 * 26 + 5 * 224 + 4 * 10
    image, *maps = np.split(picture[-26 - 200 : -50, 26:-26], range(234, 1000, 234), axis=1)
    for column in maps:  # the image under each network's heat map
        width = min(image.shape[1], column.shape[1])
        assert abs(column[:, :width] - image[:, :width]).mean() > 10
    assert abs(maps[0] - maps[1]).mean() > 5


@pytest.mark.slow
def test_cam_marks_right_and_wrong_answers_as_in_vanillanets_paper(photographs, tmp_path):
    """Folder names are labels; captions of right answers are green, of wrong ones red."""
    source = network_of(tmp_path, "vanillanet_5", ("cat", "cup"), width=1 / 32)
    paths = sorted(photographs.rglob("*.png"))
    answers = [found.names[0] for found in inx.predict(inx.load_pretrained(source), paths, topk=1)]
    colours = {"right": (0x7E, 0xE0, 0x8A), "wrong": (0xFF, 0x9A, 0x8A)}
    for tone, other in (("right", "wrong"), ("wrong", "right")):
        samples = tmp_path / tone
        for number, (path, answer) in enumerate(zip(paths, answers, strict=True)):
            label = answer if tone == "right" else {"cat": "cup", "cup": "cat"}[answer]
            (samples / label).mkdir(parents=True, exist_ok=True)
            (samples / label / f"{number}.png").write_bytes(path.read_bytes())
        to = tmp_path / f"{tone}.png"
        assert explain("cam", source, samples, "--to", to, "--method", "gradcam++") == 0
        seen = {tuple(colour) for colour in np.asarray(Image.open(to)).reshape(-1, 3)}
        assert colours[tone] in seen
        assert colours[other] not in seen


@pytest.mark.slow
def test_erf_compares_two_networks(networks, photographs, tmp_path, capsys):
    to = tmp_path / "erf.png"
    command = ["erf", networks[0], photographs, "--to", to, "--beside", networks[1]]
    assert explain(*command) == 0
    _, *rows, _ = capsys.readouterr().out.splitlines()
    names = ("inceptionnext_atto", "convnext_atto")
    assert [row.split("\t")[0] for row in rows] == [
        f"{folder} ({name})" for folder, name in zip(networks, names, strict=True)
    ]
    arrays = np.load(tmp_path / "erf.npz")
    assert [arrays[f"field_{index}"].shape for index in (0, 1)] == [(64, 64), (48, 48)]
    assert Image.open(to).width == 2 * 26 + 2 * 224 + 12


def test_columns_of_equal_networks_are_named_by_source():
    from argparse import Namespace

    from inceptionnext_jax.cli.sources import column_names

    args = Namespace(source="run/1", beside=["run/2"])
    one, other = Namespace(name="a"), Namespace(name="b")
    assert column_names(args, [one, other]) == ["a", "b"]
    assert column_names(args, [one, one]) == ["run/1", "run/2"]


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


def test_receptive_fields_of_systems_are_those_of_their_maps(saved_system, photographs, tmp_path):
    to = tmp_path / "erf.png"
    assert explain("erf", saved_system, photographs / "cat/1.png", "--to", to) == 0
    network = inx.load_pretrained(saved_system)
    pixels = network.preprocessing.pixels((photographs / "cat/1.png").read_bytes())
    assert pixels.shape == (64, 64, 3)
    field = np.load(tmp_path / "erf.npz")["field_0"]
    np.testing.assert_allclose(field, receptive_field(network, pixels[None]), rtol=1e-4)
    assert field.max() > 0


def test_class_maps_of_a_system_are_refused(saved_system, photographs, tmp_path, capsys):
    to = tmp_path / "cam.png"
    assert explain("cam", saved_system, photographs, "--to", to) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "explain classifiers, and upernet_inceptionnext_atto is a network of segm" in line
    assert not to.exists()
