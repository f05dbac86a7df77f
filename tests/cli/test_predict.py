"""Predictions of real photographs equal timm's, from the file to the probability."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.errors import UserError
from tests.models.oracle import randomised, state

ATTO = "inceptionnext_atto"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `a.png`, `b.jpg`, `deeper/c.png` (grey) and a text file."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    (folder / "deeper").mkdir()
    Image.fromarray(data.chelsea()).save(folder / "a.png")
    Image.fromarray(data.coffee()).save(folder / "b.jpg", quality=92)
    Image.fromarray(data.camera()).save(folder / "deeper/c.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def twins(timm, tmp_path_factory):
    """(our saved folder, timm's network) with the same weights of 1,000 classes."""
    oracle = randomised(timm, "inceptionnext_atto")
    saved = inx.Pretrained(ATTO, from_torch(ATTO, state(oracle)))
    return inx.save_pretrained(tmp_path_factory.mktemp("model"), saved), oracle


@pytest.fixture(scope="module")
def expected(timm, twins, folder):
    """{path: (classes, probabilities)} of the photographs by timm, from the file on."""
    import torch

    config = timm.data.resolve_data_config(timm.create_model("inception_next_atto").pretrained_cfg)
    transform = timm.data.create_transform(**config)
    found = {}
    for name in ("a.png", "b.jpg", "deeper/c.png"):
        with torch.no_grad(), Image.open(folder / name) as image:
            x = transform(image.convert("RGB"))
            probabilities = twins[1](x[None]).softmax(-1)[0].numpy()
        order = np.argsort(-probabilities)[:5]
        found[f"{folder}/{name}"] = (order.tolist(), probabilities[order])
    return found


def predict(capsys, *arguments):
    """(exit code, lines on standard output, lines on standard error)."""
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_rows_are_timms_top_five(twins, folder, expected, capsys):
    code, out, err = predict(capsys, twins[0], folder)
    assert (code, err) == (0, [])
    names = inx.load_pretrained(twins[0]).readable_names
    assert out[::6] == list(expected)
    for start, (classes, probabilities) in zip(range(0, 18, 6), expected.values(), strict=True):
        rows = [line.split("\t") for line in out[start + 1 : start + 6]]
        assert [row[0] for row in rows] == list("12345")
        assert [row[2] for row in rows] == [names[k] for k in classes]
        np.testing.assert_allclose([float(row[1]) for row in rows], probabilities, atol=2e-4)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_json_lines_hold_the_same_for_any_batch_size(twins, folder, expected, capsys, batch_size):
    arguments = ["--json", "--topk", 3, "--batch-size", batch_size]
    code, out, err = predict(capsys, twins[0], folder, *arguments)
    assert (code, err) == (0, [])
    for line, (path, (classes, probabilities)) in zip(out, expected.items(), strict=True):
        found = json.loads(line)
        assert found["path"] == path
        assert [k["class"] for k in found["classes"]] == classes[:3]
        assert [k["rank"] for k in found["classes"]] == [1, 2, 3]
        np.testing.assert_allclose(
            [k["probability"] for k in found["classes"]], probabilities[:3], atol=2e-4
        )


class Stdin:
    def __init__(self, data):
        self.buffer = io.BytesIO(data)


def test_standard_input_is_an_image_or_paths(twins, folder, expected, capsys, monkeypatch):
    image, paths = folder / "a.png", "\n".join(expected) + "\n"
    for data, wanted in (
        (image.read_bytes(), ["standard input"]),
        (paths.encode(), list(expected)),
    ):
        monkeypatch.setattr("sys.stdin", Stdin(data))
        code, out, err = predict(capsys, twins[0], "-", "--topk", 1)
        assert (code, err, out[::2]) == (0, [], wanted)
    monkeypatch.setattr("sys.stdin", Stdin(b"\n"))
    code, out, (line,) = predict(capsys, twins[0], "-")
    assert (code, out) == (2, [])
    assert "standard input is empty" in line


def test_unreadable_images_are_reported_and_left_out(twins, folder, capsys, tmp_path):
    names = ("cut.png", "text.jpg", "none.png", "bomb.png", "thin.png", "null\0.png")
    bad = [tmp_path / name for name in names]
    bad[0].write_bytes((folder / "a.png").read_bytes()[:5000])
    bad[1].write_text("no image")
    header = bytearray((folder / "a.png").read_bytes())
    header[16:24] = (2**30).to_bytes(4, "big") * 2
    bad[3].write_bytes(header)
    Image.new("L", (60_000, 1)).save(bad[4])
    code, out, err = predict(capsys, twins[0], bad[0], folder / "a.png", *bad[1:], folder / "b.jpg")
    assert code == 2
    assert out[::6] == [f"{folder}/a.png", f"{folder}/b.jpg"]
    assert len(err) == len(bad)
    for path, line in zip(bad, err, strict=True):
        assert line.startswith("error: ")
        assert path.stem.strip("\0")[:4] in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "{empty}"], "holds no images"),
        (["{empty}", "x.png"], "holds no weights"),
        (["{model}/model.safetensors", "x.png"], "--model NAME"),
    ],
)
def test_mistakes_are_one_line(twins, tmp_path, capsys, arguments, message):
    paths = {"model": str(twins[0]), "empty": str(tmp_path)}
    code, out, (line,) = predict(capsys, *(text.format(**paths) for text in arguments))
    assert (code, out) == (2, [])
    assert line.startswith("error: ")
    assert message in line


def test_the_library_takes_arrays_and_bytes_and_raises(twins, folder):
    loaded = inx.load_pretrained(twins[0])
    path = folder / "a.png"
    found = list(inx.predict(loaded, [path, path.read_bytes(), np.asarray(Image.open(path))]))
    assert [os.path.basename(one.path) for one in found] == ["a.png", "image 1", "image 2"]
    for one in found[1:]:
        np.testing.assert_array_equal(one.classes, found[0].classes)
        np.testing.assert_allclose(one.probabilities, found[0].probabilities, rtol=1e-5)
    with pytest.raises(UserError, match="cannot read image none"):
        list(inx.predict(loaded, ["none"]))
    for wrong in ({"topk": 0}, {"batch_size": -1}):
        ((name, value),) = wrong.items()
        with pytest.raises(UserError, match=f"{name}={value} is not a whole number ≥ 1"):
            list(inx.predict(loaded, [path], **wrong))
    with pytest.raises(UserError, match=r"image 0 is float64 \(8, 8\), expected uint8"):
        list(inx.predict(loaded, [np.zeros((8, 8))]))
