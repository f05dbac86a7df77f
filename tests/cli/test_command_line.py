"""The command from a shell: mistyped arguments, help pages, closed pipes, undecodable names."""

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
        (["predict", "w", "x.png", "--topk", "five"], "--topk: 'five' is not a whole number ≥ 1"),
        (["predict", "w", "x.png", "--topk", "0"], "--topk: '0' is not a whole number ≥ 1"),
        (["predict", "w", "x.png", "--batch-size", "-1"], "--batch-size: '-1' is not a whole"),
        (["predict", "w", "x.png", "--jsn"], "unrecognized arguments: --jsn"),
        (["convert", "--from", "w"], "required: --to"),
        (["convert", "--from", "w", "--to", "x", "--layout", "timn"], "invalid choice: 'timn'"),
        (
            ["convert", "--from", "w", "--to", "x", "--num-classes", "-3"],
            "'-3' is not a",
        ),
        (["explain"], "required: KIND"),
        (["explain", "cma", "w", "x.png"], "invalid choice: 'cma'"),
        (["explain", "cam", "w", "x.png"], "required: --to"),
        (["explain", "cam", "w", "x.png", "--to", "x.png", "--output-stride", "9"], "choice: 9"),
        (["explain", "cam", "w", "x.png", "--to", "x.png", "--output-stride", "s"], "'s' is not a"),
        (["explain", "cam", "w", "x.png", "--to", "x.png", "--method", "cam"], "choice: 'cam'"),
        (["explain", "augment", "--config", "c", "--to", "x.png", "--rows", "0"], "'0' is not a"),
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
def test_mistyped_arguments_are_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as end:  # from argparse
        code = end.code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert (code, captured.out) == (2, "")
    assert line.startswith("error: ")
    assert message in line
    assert os.listdir() == []


def test_help_pages_of_all_commands_import_no_jax():
    code = """
import sys
from inceptionnext_jax.__main__ import COMMANDS, main
kinds = [["explain", kind] for kind in ("augment", "cam", "erf")]
for page in [[], *([name] for name in COMMANDS), *kinds]:
    try:
        main([*page, "--help"])
    except SystemExit as end:
        assert end.code == 0
    slow = {"jax", "flax", "numpy", "matplotlib", "PIL"} & set(sys.modules)
    assert not slow, (page, slow)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_of_the_package_are_its_public_ones():
    assert dir(inx) == sorted(inx.__all__)
    assert all(hasattr(inx, name) for name in dir(inx))


def test_a_closed_pipe_is_no_error():
    """`models | head -0`: no traceback, and none when Python ends."""
    with subprocess.Popen(
        [*COMMAND, "models"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


@pytest.mark.slow
def test_undecodable_file_names_are_printed_unchanged(tmp_path):
    """Given as arguments and on standard input, in any locale."""
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
