"""The command as shells see it: mistakes in words, pipes that close, names that are no text."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from tests.models.oracle import random_variables
from tests.runs import ROOT, environment

COMMAND = [sys.executable, "-m", "inceptionnext_jax"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND"),
        (["predcit", "x"], "invalid choice: 'predcit'"),
        (["predict"], "required: MODEL, IMAGE"),
        (["predict", "w", "x.png", "--topk", "five"], "--topk: invalid int value: 'five'"),
        (["predict", "w", "x.png", "--jsn"], "unrecognized arguments: --jsn"),
        (["convert", "--from", "w"], "required: --to"),
        (["convert", "--from", "w", "--to", "x", "--layout", "timn"], "invalid choice: 'timn'"),
        (["convert", "--from", "w", "--to", "x", "--num-classes", "-3"], "--num-classes=-3"),
        (["explain"], "required: KIND"),
        (["explain", "cma", "w", "x.png"], "invalid choice: 'cma'"),
        (["explain", "cam", "w", "x.png"], "required: --to"),
        (["explain", "cam", "w", "x.png", "--to", "x.png", "--output-stride", "9"], "choice: 9"),
        (["explain", "cam", "w", "x.png", "--to", "x.png", "--method", "cam"], "choice: 'cam'"),
        (["explain", "erf", "w", "--to", "x.png"], "required: IMAGE"),
        (["explain", "erf", "none/w", "x.png", "--to", "x.gif"], "must end in .png"),
        (["export", "w", "--format", "onxn", "--to", "x"], "invalid choice: 'onxn'"),
        (["export", "w", "--to", "x"], "required: --format"),
        (["export", "a/b/none", "--format", "onnx", "--to", "x"], "a/b/none holds no weights"),
        (["models", "--detials", "x"], "unrecognized arguments: --detials"),
        (["models", "--details", "inceptionnext_tiyn"], "did you mean inceptionnext_tiny"),
        (["checkpoints", "none"], "none is not a folder"),
        (["prepare"], "required: name"),
    ],
)
def test_mistyped_words_are_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as end:  # argparse's own way out
        code = end.code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert (code, captured.out) == (2, "")
    assert line.startswith("error: ")
    assert message in line
    assert os.listdir() == []


def test_a_reader_that_has_seen_enough_is_no_error():
    """`models | head -0`: no traceback, and none when Python ends."""
    with subprocess.Popen(
        [*COMMAND, "models"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


@pytest.mark.slow
def test_names_that_are_no_text_are_printed_as_they_are(tmp_path):
    """Given as words and on standard input, whatever the locale."""
    options = {"stage_depths": (1, 1, 1, 1)}
    variables = random_variables(inx.create_model("inceptionnext_atto", num_classes=2, **options))
    before = Preprocessing(32, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    network = Pretrained("inceptionnext_atto", variables, options, before, ("ä", "b"))
    weights = inx.save_pretrained(tmp_path / "w", network)
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "image.png")
    os.rename(tmp_path / "image.png", name)
    variables = {**environment(), "PYTHONIOENCODING": "utf-8"}  # strict, as in en_US.UTF-8
    command = [*COMMAND, "predict", weights]
    for words, data in (([name], b""), (["-"], name + b"\n"), ([name, "--json"], b"")):
        done = subprocess.run(
            [*command, *words], input=data, cwd=ROOT, env=variables, capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        assert (b"udcff.png" if "--json" in words else name) in done.stdout
