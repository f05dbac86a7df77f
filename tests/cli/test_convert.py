"""Converting from and to every kind of file; mistakes are refused and nothing is written."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import to_torch
from inceptionnext_jax.convert.timm_names import timm_name
from inceptionnext_jax.trees import paths_and_leaves
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
    """A file's arrays, read by the formats' own libraries."""
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
    """The arrays but PyTorch's counters of batches, which are written as 0."""
    return {key: a for key, a in arrays.items() if not key.endswith("num_batches_tracked")}


def round_trip(oracle, name, tmp_path, suffix, back, wrapper="", dtype=np.float32):
    """PyTorch → file → our folder → file; returns the relative difference of the logits."""
    arrays = state(oracle)
    write(tmp_path / f"timm{suffix}", arrays, wrapper)
    assert (
        convert("--model", name, "--from", tmp_path / f"timm{suffix}", "--to", tmp_path / "w") == 0
    )
    assert convert("--from", tmp_path / "w", "--to", tmp_path / f"back{back}") == 0
    assert_identical(without_counters(read(tmp_path / f"back{back}")), without_counters(arrays))
    assert read(tmp_path / f"back{back}").keys() == arrays.keys()
    x = images((2, 64, 64, 3)).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        # In float64 XLA turns grouped convolutions into dense ones.
        impl = "shift" if dtype == np.float64 else "conv"
        model, variables = inx.load_model(tmp_path / "w", depthwise_impl=impl, dtype=dtype)
        variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
        ours = np.asarray(jax.jit(model.apply)(variables, x))
    theirs = logits_of(oracle.double() if dtype == np.float64 else oracle, x)
    assert ours.dtype == theirs.dtype
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


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
def test_timms_weights_survive_the_round_trip(timm, tmp_path, capsys, suffix, wrapper, back):
    oracle = randomised(timm, ATTO, num_classes=5)
    assert round_trip(oracle, ATTO, tmp_path, suffix, back, wrapper) < 5e-6
    captured = capsys.readouterr()
    assert f"wrote {tmp_path}/w: {ATTO} with 5 classes" in captured.out
    assert (f"taking its entry {wrapper!r}" in captured.err) == bool(wrapper)


def test_convnexts_weights_survive_the_round_trip(timm, tmp_path):
    oracle = randomised(timm, "convnext_atto", num_classes=5)
    assert round_trip(oracle, "convnext_atto", tmp_path, ".safetensors", ".npz") < 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_survives_the_round_trip(timm, tmp_path, name):
    assert round_trip(randomised(timm, name), name, tmp_path, ".safetensors", ".npz") < 5e-6


def restated_vanillanet(name):
    """The authors' network, with our depths and widths: a pooling before each stage."""
    from tests.models import torch_vanillanet

    depths, wide = inx.model_info(name).stage_depths, 1.5 if "x1_5" in name else 1
    sides = [("to", 38), ("to", 19), ("to", 10)] if "ada" in name else [2, 2, 2]
    dims, pools = [512], []
    for dim, pool, depth in zip(
        (512, 1024, 2048, 4096)[-len(depths) :], [None, *sides][-len(depths) :], depths, strict=True
    ):
        dims += [dim] * depth
        pools += [pool, *[None] * (depth - 1)]
    stem = {"stride": 3, "padding": 1} if "ada" in name else None
    return torch_vanillanet.make([int(wide * dim) for dim in dims], pools, 1000, stem=stem)


@pytest.mark.slow
@pytest.mark.parametrize("name", inx.list_models("vanillanet*"))
def test_every_vanillanet_survives_the_round_trip(timm, tmp_path, name):
    """From a .pth with `model_ema`, as the authors publish them; timm has none.

    In float64: without shortcuts these networks amplify rounding, and PyTorch's own float32 differs
    by up to 9e-6 from its float64.
    """
    oracle, formats = restated_vanillanet(name), (".pth", ".safetensors", "model_ema")
    assert round_trip(oracle, name, tmp_path, *formats, dtype=np.float64) < 1e-12


def test_the_authors_names_are_written_and_read(tmp_path, capsys):
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


@pytest.mark.slow
def test_files_are_converted_without_torch(timm, tmp_path):
    """In both directions, in a process in which PyTorch and timm cannot be imported."""
    arrays = without_counters(state(randomised(timm, ATTO, num_classes=3)))
    suffixes = {".safetensors": ".npz", ".npz": ".safetensors", ".pth": ".npz"}
    for suffix in suffixes:
        write(tmp_path / f"timm{suffix}", arrays)
    code = f"""
import sys
for name in ("torch", "timm", "torchvision", "tensorflow"):
    sys.modules[name] = None
from inceptionnext_jax.__main__ import main
for suffix, back in {suffixes}.items():
    folder = "from" + suffix[1:]
    given = ["--model", {ATTO!r}, "--from", "timm" + suffix]
    assert main(["convert", *given, "--to", folder]) == 0
    assert main(["convert", "--from", folder, "--to", folder + back]) == 0
try:
    import torch
except ImportError:
    print("no torch")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**environment(), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("no torch\n")
    for suffix, back in suffixes.items():
        found = read(tmp_path / f"from{suffix[1:]}{back}")
        assert_identical(without_counters(found), arrays)


@pytest.mark.slow
def test_hub_weights_come_from_the_hubs_cache_or_from_a_folder(saved, tmp_path):
    """Offline: the cache is used, and the folder that the error message asks for works."""
    hub = tmp_path / "hub/models--timm--inception_next_atto.sail_in1k"
    environ = {**environment(), "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path)}

    def run(source, to):
        command = [sys.executable, "-m", "inceptionnext_jax", "convert", "--from", source]
        return subprocess.run(
            [*command, "--to", to], cwd=tmp_path, capture_output=True, text=True,
            env={**environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    done = run(ATTO, "none")
    *_, last = done.stderr.splitlines()
    assert (done.returncode, last[:7]) == (2, "error: ")
    address = "https://huggingface.co/timm/inception_next_atto.sail_in1k/resolve/main"
    assert f"{address}/model.safetensors and config.json" in last
    assert "give that folder instead of" in last
    assert not (tmp_path / "none").exists()
    (hub / "refs").mkdir(parents=True)
    (hub / "refs/main").write_text("abc")
    shutil.copytree(saved, hub / "snapshots/abc")
    shutil.copytree(saved, tmp_path / "by_hand")
    for source in (ATTO, "timm/inception_next_atto.sail_in1k", "by_hand"):
        done = run(source, "w")
        assert done.returncode == 0, done.stderr
        assert_identical(read(tmp_path / "w/model.safetensors"), read(saved / "model.safetensors"))
        shutil.rmtree(tmp_path / "w")


@pytest.mark.slow
def test_a_url_is_converted_if_its_checksum_is_right(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "web").mkdir()
    arrays = to_torch(ATTO, random_variables(inx.create_model(ATTO, num_classes=3)))
    write(tmp_path / "web/w.npz", arrays)
    digest = hashlib.sha256((tmp_path / "web/w.npz").read_bytes()).hexdigest()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/w.npz"
        command = ["--model", ATTO, "--from", address, "--to", tmp_path / "w", "--sha256"]
        assert convert(*command, "0" * 64) == 2
        assert f"has SHA-256 {digest}, expected 000" in capsys.readouterr().err
        assert not (tmp_path / "w").exists()
        assert convert(*command, digest) == 0
        server.shutdown()
    assert_identical(read(tmp_path / "w/model.safetensors"), arrays)


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


def test_timms_names_cover_every_published_row(timm):
    for name in PUBLISHED:
        assert timm_name(name) in timm.list_models(), name
