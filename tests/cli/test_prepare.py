import importlib.util
import resource
import subprocess
import sys

import pytest

from inceptionnext_jax.__main__ import main
from tests import tiny_imagenet


def lines(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


def _children_seconds():
    """CPU time of child processes; wall time depends on the machine's load."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_names_the_command_and_is_quick():
    best = 99.0
    for _ in range(3):
        begin = _children_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "inceptionnext_jax", "--help"],
            cwd=tiny_imagenet.REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        best = min(best, _children_seconds() - begin)
    assert "prepare" in done.stdout
    assert best < 1.0  # seconds


def test_missing_archives_are_named(tmp_path, capsys):
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    data = tmp_path / "data"
    command = ["prepare", "imagenet2012", "--data-dir", str(data)]
    assert main([*command, "--manual-dir", str(tmp_path)]) == 2
    (error,) = lines(capsys.readouterr().err)
    assert error.startswith(f"error: ILSVRC2012_img_train.tar not found in {tmp_path};")
    assert main(command) == 2
    (error,) = lines(capsys.readouterr().err)
    assert f"img_train.tar and ILSVRC2012_img_val.tar not found in {data}/downloads" in error
    assert not data.exists()


def test_missing_tensorflow_is_one_sentence(tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "tensorflow" else find_spec(n, *a)
    )
    assert main(["prepare", "cifar10", "--data-dir", str(tmp_path)]) == 2
    assert lines(capsys.readouterr().err) == [
        "error: preparing TFDS data needs TensorFlow (reading them later does not); run: "
        "pip install -e '.[prepare]'"
    ]


@pytest.mark.parametrize(
    "arguments",
    [[], ["prepare"], ["prepare", "x", "--format", "csv"], ["prepar"], ["prepare", "x", "--no"]],
)
def test_wrong_arguments_end_with_one_line_and_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    assert captured.out == ""


def test_other_format_in_the_same_folder_is_refused(tiny_tfrecord):
    before = sorted(tiny_tfrecord.rglob("*record*"))
    done = tiny_imagenet.run_prepare(
        "imagenet2012", "--data-dir", str(tiny_tfrecord), "--format", "array_record"
    )
    assert done.returncode == 2
    (error,) = lines(done.stderr)
    assert "5.1.0 already holds this data set as tfrecord" in error
    assert "Traceback" not in done.stderr
    assert sorted(tiny_tfrecord.rglob("*record*")) == before


def test_prepared_data_are_not_prepared_again(tiny_array_record):
    done = tiny_imagenet.run_prepare(
        "imagenet2012", "--data-dir", str(tiny_array_record), "--format", "array_record"
    )
    assert done.returncode == 0, done.stderr
    assert "train: 48 examples" in done.stdout


def test_unknown_data_set_is_named(tmp_path):
    done = tiny_imagenet.run_prepare("imagenot2012", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    (error,) = lines(done.stderr)
    assert "TFDS does not know data set 'imagenot2012'" in error
    assert "Traceback" not in done.stderr
