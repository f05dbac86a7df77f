"""Converting from and to every kind of file; hostile ones are refused, nothing is written."""

import os
import shutil
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.convert.timm_names import timm_name
from inceptionnext_jax.models.trees import paths_and_leaves
from tests.convert import test_files as hostile
from tests.models.oracle import images, logits_of, random_variables, randomised, state
from tests.runs import ROOT, environment

ATTO = "inceptionnext_atto"
PUBLISHED = [
    *(f"inceptionnext_{size}" for size in ("atto", "tiny", "small", "base", "base_384")),
    *(f"convnext_{size}" for size in ("atto", "tiny", "small", "base", "large", "xlarge")),
]


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


def read(path):
    """A file's arrays, by the libraries that own the formats."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    from safetensors.numpy import load_file

    return load_file(path)


def write(path, arrays, wrapper=""):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, path)
    else:
        import torch

        tensors = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
        torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, path)


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype, key
        np.testing.assert_array_equal(value, other[key], err_msg=key)


def without_counters(arrays):
    """PyTorch counts batches; that number is nobody's weight and is written as 0."""
    return {key: a for key, a in arrays.items() if not key.endswith("num_batches_tracked")}


def round_trip(timm, name, tmp_path, suffix, back, wrapper="", num_classes=5, size=64):
    """timm → file → our folder → file; returns (relative) difference of the logits."""
    oracle = randomised(timm, name, num_classes)
    arrays = state(oracle)
    write(tmp_path / f"timm{suffix}", arrays, wrapper)
    assert (
        convert("--model", name, "--from", tmp_path / f"timm{suffix}", "--to", tmp_path / "w") == 0
    )
    assert convert("--from", tmp_path / "w", "--to", tmp_path / f"back{back}") == 0
    assert_identical(without_counters(read(tmp_path / f"back{back}")), without_counters(arrays))
    assert read(tmp_path / f"back{back}").keys() == arrays.keys()
    model, variables = inx.load_model(tmp_path / "w", depthwise_impl="conv")
    x = images((2, size, size, 3))
    theirs = logits_of(oracle, x)
    return (
        np.abs(np.asarray(jax.jit(model.apply)(variables, x)) - theirs).max() / np.abs(theirs).max()
    )


@pytest.mark.parametrize(
    ("suffix", "wrapper", "back"),
    [
        (".safetensors", "", ".npz"),
        pytest.param(".npz", "", ".safetensors", marks=pytest.mark.slow),
        (".pt", "model_ema", ".npz"),
        pytest.param(".pth", "", ".npz", marks=pytest.mark.slow),
        pytest.param(".pth", "model", ".safetensors", marks=pytest.mark.slow),
        pytest.param(".bin", "state_dict", ".npz", marks=pytest.mark.slow),
    ],
)
def test_timms_weights_come_back_as_they_were(timm, tmp_path, capsys, suffix, wrapper, back):
    assert round_trip(timm, ATTO, tmp_path, suffix, back, wrapper) < 5e-6
    captured = capsys.readouterr()
    assert f"wrote {tmp_path}/w: {ATTO} with 5 classes" in captured.out
    assert (f"taking its entry {wrapper!r}" in captured.err) == bool(wrapper)


def test_convnexts_weights_come_back_as_they_were(timm, tmp_path):
    assert round_trip(timm, "convnext_atto", tmp_path, ".safetensors", ".npz") < 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_row_comes_back_as_it_was(timm, tmp_path, name):
    assert round_trip(timm, name, tmp_path, ".safetensors", ".npz", num_classes=1000) < 5e-6


def test_the_authors_names_are_written_and_read_again(tmp_path, capsys):
    name = "convnext_atto"
    variables = random_variables(inx.create_model(name, num_classes=3))
    inx.save_pretrained(tmp_path / "w", inx.Pretrained(name, variables))
    official = tmp_path / "official.npz"
    assert convert("--from", tmp_path / "w", "--to", official, "--layout", "official") == 0
    assert "in official's names" in capsys.readouterr().out
    assert_identical(read(official), to_torch(name, variables, "official"))
    assert "downsample_layers.0.0.weight" in read(official)
    assert convert("--model", name, "--from", official, "--to", tmp_path / "again") == 0
    one, other = (inx.load_model(tmp_path / folder)[1] for folder in ("w", "again"))
    assert_identical(dict(paths_and_leaves(one)), dict(paths_and_leaves(other)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a shallow atto of three classes."""
    folder = tmp_path_factory.mktemp("saved") / "w"
    options = {"stage_depths": (1, 1, 1, 1)}
    variables = random_variables(inx.create_model(ATTO, num_classes=3, **options))
    return inx.save_pretrained(folder, inx.Pretrained(ATTO, variables, options))


def test_files_are_converted_where_there_is_no_torch(saved, tmp_path):
    code = """
import sys
for name in ("torch", "timm", "tensorflow"):
    sys.modules[name] = None
from inceptionnext_jax.__main__ import main
saved, to = sys.argv[1:]
for source, target in ((saved, to + "/a.safetensors"), (saved, to + "/a.npz")):
    assert main(["convert", "--from", source, "--to", target]) == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code, saved, tmp_path],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_identical(read(tmp_path / "a.npz"), read(saved / "model.safetensors"))
    assert_identical(read(tmp_path / "a.safetensors"), read(saved / "model.safetensors"))


def test_other_class_counts_offer_a_new_head(saved, tmp_path, capsys):
    command = ["--from", saved, "--to", tmp_path / "seven", "--num-classes", 7]
    assert convert(*command) == 2
    assert "add --reset-head" in capsys.readouterr().err
    assert not (tmp_path / "seven").exists()
    assert convert(*command, "--reset-head") == 0
    before, after = (inx.load_model(path)[1] for path in (saved, tmp_path / "seven"))
    before, after = dict(paths_and_leaves(before)), dict(paths_and_leaves(after))
    changed = [key for key in before if not np.array_equal(before[key], after[key])]
    assert changed == ["params/head/fc2/bias", "params/head/fc2/kernel"]
    assert after["params/head/fc2/kernel"].shape[1] == 7
    assert convert(*command[:4], "--num-classes", 3) == 0


def test_all_mismatches_are_listed_with_both_shapes(timm, tmp_path, capsys):
    arrays = state(timm.create_model("inception_next_atto", num_classes=3))
    arrays["stem.0.bias"] = arrays["stem.0.bias"][:7]
    arrays["head.fc1.bias"] = arrays["head.fc1.bias"].astype(np.int64)
    arrays["mine"] = np.zeros((2, 3), np.float32)
    del arrays["stages.0.blocks.0.gamma"]
    write(tmp_path / "w.npz", arrays)
    assert convert("--model", ATTO, "--from", tmp_path / "w.npz", "--to", tmp_path / "w") == 2
    *listed, last = capsys.readouterr().err.splitlines()
    assert set(listed) == {
        "misshapen: stem.0.bias: (7,) in the file, (40,) in the model",
        "not floats: head.fc1.bias: int64 in the file, (960,) in the model",
        "unexpected: mine: (2, 3) in the file, none in the model",
        "missing: stages.0.blocks.0.gamma: none in the file, (40,) in the model",
    }
    assert last.startswith("error: ")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "{}/none", "--to", "x"], "holds no weights"),
        (["--from", "{}", "--to", "x.pth"], "read but not written"),
        (["--from", "{}", "--to", "none/x.npz"], "there is no folder"),
        (["--from", "{}", "--to", "x", "--layout", "official"], "is for a FILE"),
        (["--from", "{}", "--to", "x", "--reset-head"], "needs --num-classes"),
        (["--from", "{}", "--to", "x", "--key", "model"], "leave the key"),
        (["--from", "{}", "--to", "x", "--model", "inceptionnext_tiyn"], "did you mean"),
        (["--from", "{}/model.safetensors", "--to", "x"], "does not say which model"),
        (["--from", "inceptionnext_tiny_band7", "--to", "x"], "no published weights"),
        (["--from", "{}/config.json", "--to", "x"], "holds no weights"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(saved, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert convert(*(argument.format(saved) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert os.listdir() == []


# --- files that nobody should read, through the whole command ---


def pickled(content):
    return content if isinstance(content, bytes) else hostile.pickle.dumps({"w": content}, 2)


def torch_archive(pickle_bytes):
    def make(path):
        hostile.archive(path, pickle_bytes, [hostile.TWO])

    return make


def npz_named(name):
    """Arrays called as no file should be; a careless extraction would write outside."""

    def make(path):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, hostile.npy((2,), data=hostile.TWO))

    return make


def torch_named(root):
    def make(path):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{root}/data.pkl", hostile.tensor_pickle())
            file.writestr(f"{root}/data/0", hostile.TWO)

    return make


def loop(path):
    path.symlink_to(path)


def dangling(path):
    path.symlink_to(path.parent / "nothing.npz")


HOSTILE = {
    **{f"calls {name}.pth": torch_archive(pickled(call)) for name, call in hostile.CALLS.items()},
    **{f"{name}.pth": torch_archive(data) for name, data in hostile.DAMAGED_PICKLES.items()},
    **{name: data for name, data in hostile.FILES.items() if not name.endswith(".h5")},
    "parent.npz": npz_named("../../escaped.npy"),
    "absolute.npz": npz_named("/tmp/escaped.npy"),
    "parent.pth": torch_named("../../escaped"),
    "absolute.pth": torch_named("/tmp/escaped"),
    "loop.npz": loop,
    "dangling.npz": dangling,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_are_refused_and_nothing_is_written(
    saved, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(tmp_path)
    file, target = tmp_path / name.replace(" ", "_").replace("^", "_"), tmp_path / "target"
    content = HOSTILE[name]
    file.write_bytes(content) if isinstance(content, bytes) else content(file)
    shutil.copytree(saved, target)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path != file}
    command = ["convert", "--model", ATTO, "--from", str(file), "--to", str(target)]
    assert main(command) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    (line,) = errors
    assert len(line) < 700 + len(str(file))
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path != file}
    assert after == before
    assert not os.path.exists("/tmp/escaped.npy")


def test_there_are_more_than_fifty_hostile_files():
    assert len(HOSTILE) > 50


def test_timms_names_cover_every_published_row(timm):
    for name in PUBLISHED:
        assert timm_name(name) in timm.list_models(), name
