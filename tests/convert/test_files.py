"""Weight files: read as written; hostile or damaged ones refused with one sentence."""

import io
import json
import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from inceptionnext_jax.convert import hub
from inceptionnext_jax.convert.files import read_weights
from inceptionnext_jax.errors import UserError


@pytest.fixture(scope="session")
def torch(timm):
    import torch

    return torch


@pytest.fixture
def weights(torch):
    """A state dict with views, a shared storage, half precision, integers and an empty tensor."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    base = torch.randn(6, 5)
    state = model.state_dict()
    state["view"] = base.T[1:4, ::2]
    state["same"] = base
    state["half"] = base.half()
    state["bfloat16"] = base.bfloat16()
    state["empty"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(base[0])
    return state


def as_numpy(state):
    import torch

    return {
        name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy()
        for name, t in state.items()
    }


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype, name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_files_have_the_arrays_of_torch_load(torch, weights, tmp_path, protocol):
    path = tmp_path / "w.pth"
    torch.save(weights, path, pickle_protocol=protocol)
    got, entry = read_weights(path)
    assert entry == ""
    assert_same(got, as_numpy(torch.load(path, weights_only=False)))
    got["same"][0, 0] = 7  # writable, hence a copy


def test_safetensors_and_npz_have_the_same_arrays(torch, weights, tmp_path):
    from safetensors.torch import save_file

    plain = {name: t.detach().clone().contiguous() for name, t in weights.items()}
    save_file(plain, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **as_numpy(weights))
    np.savez_compressed(tmp_path / "z.npz", zeros=np.zeros((512, 512), np.float32, order="F"))
    assert_same(read_weights(tmp_path / "w.safetensors").arrays, as_numpy(weights))
    assert_same(read_weights(tmp_path / "w.npz").arrays, as_numpy(weights))
    assert read_weights(tmp_path / "z.npz").arrays["zeros"].shape == (512, 512)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("model", "model_ema"), "model_ema"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("state_dict", "model"), "model"),
        (("state_dict",), "state_dict"),
    ],
)
def test_averages_are_taken_before_the_model(torch, tmp_path, names, chosen):
    saved = {name: {"module.w": torch.full((2,), float(i))} for i, name in enumerate(names)}
    other = {
        "epoch": 3,
        "best": 0.5,
        "optimizer": {"state": {0: {"m": torch.ones(2)}}},
        "amp": None,
    }
    torch.save({**saved, **other, "model_ema ": None}, tmp_path / "w.pt")
    arrays, entry = read_weights(tmp_path / "w.pt")
    assert entry == chosen
    np.testing.assert_array_equal(arrays["w"], names.index(chosen))
    assert read_weights(tmp_path / "w.pt", key=names[0]).entry == names[0]
    with pytest.raises(UserError, match="no state dict under 'modle'"):
        read_weights(tmp_path / "w.pt", key="modle")


def test_an_empty_entry_for_the_average_is_skipped(torch, tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "model_ema": None}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").entry == "model"


# --- hostile and damaged files ---


class Runs:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def archive(path, pickled, storages=(), **others):
    """Writes a zip file as torch.save lays it out."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for key, data in enumerate(storages):
            file.writestr(f"archive/data/{key}", data)
        for name, data in others.items():
            file.writestr(f"archive/{name}", data)


def op(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def tensor_pickle(shape=(2,), strides=(1,), length=2, offset=0, key="0", kind="FloatStorage"):
    """{"w": tensor}, written by hand so that its sizes may be false."""

    def numbers(values):
        return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

    storage = (
        b"(" + op("storage") + f"ctorch\n{kind}\n".encode() + op(key) + op("cpu")
        + pickle.dumps(length, 2)[2:-1] + b"tQ"
    )  # fmt: skip
    return (
        b"\x80\x02}" + op("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
        + pickle.dumps(offset, 2)[2:-1] + numbers(shape) + numbers(strides) + b"\x89}tRs."
    )  # fmt: skip


TWO = np.ones(2, np.float32).tobytes()
CALLS = {
    "os.system": Runs(os.system, "touch ran"),
    "posix.system by INST": b"(S'touch ran'\niposix\nsystem\n.",
    "eval": Runs(eval, "open('ran', 'w')"),
    "exec": Runs(exec, "open('ran', 'w')"),
    "import": Runs(__import__, "antigravity"),
    "open": Runs(open, "ran", "w"),
    "getattr": Runs(getattr, OrderedDict(), "__class__"),
    "Namespace": Namespace(lr=1),
    "STACK_GLOBAL": pickle.dumps(Runs(os.system, "touch ran"), 4),
    "numpy scalar": np.float64(1.0),
    "torch.load": b"\x80\x02ctorch\nload\n" + op("ran") + b"\x85R.",
    "dotted name": b"\x80\x04"
    + b"\x8c\x0bcollections"
    + b"\x8c\x14OrderedDict.__init__"
    + b"\x93.",
    "new object": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_asks_for_more_than_data_is_refused_and_not_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    call = CALLS[name]
    archive("w.pth", call if isinstance(call, bytes) else pickle.dumps({"w": call}, 2))
    with pytest.raises(UserError, match=r"^w\.pth asks for .* while it is read") as error:
        read_weights(Path("w.pth"))
    assert "\n" not in str(error.value)
    assert os.listdir() == ["w.pth"]
    if name == "os.system":
        assert "asks for posix.system" in str(error.value)


def test_pythons_own_unpickler_would_run_the_examples(tmp_path, monkeypatch):
    """Otherwise the test above proves nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(CALLS["os.system"]))
    assert os.listdir() == ["ran"]


DAMAGED_PICKLES = {
    "nothing": b"",
    "no end": b"\x80\x02}",
    "empty stack": b"\x80\x02.",
    "mark": b"\x80\x02(.",
    "unknown opcode": b"\x80\x02\xff.",
    "memo": b"\x80\x02h\x07.",
    "text beyond the end": b"\x80\x02X\xff\xff\xff\x7fab.",
    "text of 2^63 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b"ab.",
    "call without a name": b"\x80\x02})R.",
    "state of a name": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "list as key": b"\x80\x02}]Ns.",
    "deep key": b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"Ns.",
    "storage called": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "storage of another kind": tensor_pickle(kind="Size"),
    "path as key": tensor_pickle(key="../data.pkl"),
    "missing storage": tensor_pickle(key="3"),
    "terabytes": tensor_pickle(shape=(2**20, 2**20), strides=(2**20, 1), length=2**40),
    "terabytes by stride 0": tensor_pickle(shape=(2**20, 2**20), strides=(0, 0)),
    "2^62 axes": tensor_pickle(shape=(2**61, 8), strides=(0, 0)),
    "more than there is": tensor_pickle(shape=(3,)),
    "beyond the end": tensor_pickle(offset=1),
    "negative offset": tensor_pickle(offset=-1),
    "negative stride": tensor_pickle(strides=(-1,)),
    "fractional shape": tensor_pickle(shape=(1.5,)),
    "other length": tensor_pickle(length=5),
    "shape without strides": tensor_pickle(shape=(1, 1)),
    "no dict": pickle.dumps([1, 2], 2),
    "no tensors": pickle.dumps({"epoch": 3, "lr": 0.1}, 2),
}


@pytest.mark.parametrize("name", DAMAGED_PICKLES)
def test_a_damaged_pickle_is_refused_with_one_sentence(tmp_path, name):
    path = tmp_path / "w.pth"
    archive(path, DAMAGED_PICKLES[name], [TWO])
    with pytest.raises(UserError, match=r"is damaged|holds|asks for") as error:
        read_weights(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 400 + len(str(path))
    assert "\n" not in str(error.value)


def test_the_hand_written_tensor_is_read_when_its_sizes_are_true(tmp_path):
    archive(tmp_path / "w.pth", tensor_pickle(), [TWO], byteorder=b"little")
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pth").arrays["w"], [1, 1])
    archive(tmp_path / "w.pth", tensor_pickle(), [TWO], byteorder=b"big")
    with pytest.raises(UserError, match="byte order is b'big'"):
        read_weights(tmp_path / "w.pth")


def npy(shape, descr="<f4", data=b""):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(name, data, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name, data)
    return buffer.getvalue()


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def claim(shape, end=8, dtype="F32"):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


CENTRAL = b"PK\x01\x02\x14\x03\x14\x00"  # before the flags
GOOD = zipped("archive/data.pkl", b"\x80\x02}.")
FILES = {
    "empty.pth": b"",
    "text.pth": b"version https://git-lfs.github.com/spec/v1\n",
    "cut.pth": GOOD[:-30],
    "two_roots.pth": zipped("data.pkl", b"}."),
    "compressed.pth": zipped("a/data.pkl", b"\x80\x02}." + b" " * 99, zipfile.ZIP_DEFLATED),
    "wrong_sum.pth": GOOD.replace(b"\x80\x02}.", b"\x80\x02]."),
    "bare_pickle.pth": pickle.dumps({"w": 1}),
    "encrypted.pth": GOOD.replace(CENTRAL + b"\x00", CENTRAL + b"\x01"),
    "terabytes.npz": zipped("w.npy", npy((2**40,), data=TWO)),
    "negative.npz": zipped("w.npy", npy((-2, -1), data=TWO)),
    "minus_one.npz": zipped("w.npy", npy((-1,), data=TWO)),
    "pickled.npz": zipped("w.npy", npy((1,), "|O", pickle.dumps([1]))),
    "no_header.npz": zipped("w.npy", b"\x93NUMPY\x01\x00\xff\xff"),
    "version.npz": zipped("w.npy", b"\x93NUMPY\x09\x00" + b" " * 20),
    "code.npz": zipped("w.npy", npy("__import__('os').system('touch ran')", data=TWO)),
    "text.npz": b"not a zip file at all",
    "header.safetensors": struct.pack("<Q", 2**60) + b"{}",
    "terabytes.safetensors": safetensors(claim([2**20, 2**20], 2**42), TWO),
    "overflow.safetensors": safetensors(claim([2**40, 2**40]), TWO),
    "shape.safetensors": safetensors(claim([3]), TWO),
    "json.safetensors": safetensors(b"{not json", TWO),
    "type.safetensors": safetensors(claim([2], dtype="F8_E4M3", end=2), b"ab"),
    "empty.safetensors": b"",
    "nan.safetensors": safetensors(claim([2]), np.array([1, np.nan], np.float32).tobytes()),
    "infinite.npz": zipped("w.npy", npy((1,), data=np.array([np.inf], np.float32).tobytes())),
    "unknown.h5": b"\x89HDF",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_with_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with pytest.raises(UserError, match=f"^{path}") as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert os.listdir() == [name]


def test_the_error_for_pytorchs_old_format_says_how_to_convert_it(torch, weights, tmp_path):
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"before 1.6.*torch.save\(torch.load\('w.pth'"):
        read_weights(tmp_path / "w.pth")


def test_missing_files_and_keys_without_entries_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_weights(tmp_path / "w.pth")
    np.savez(tmp_path / "w.npz", w=np.ones(2))
    with pytest.raises(UserError, match="no entries to choose from"):
        read_weights(tmp_path / "w.npz", key="model")


def test_a_real_file_with_a_cut_or_a_changed_byte_is_read_or_refused(torch, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"w": torch.ones(4), "b": torch.zeros(2, 2)}, "epoch": 3}, path)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(good), 150).tolist():
        changed = bytearray(good)
        changed[at] ^= int(random.integers(1, 256))
        for data in (bytes(changed), good[:at]):
            path.write_bytes(data)
            try:
                arrays = read_weights(path).arrays
            except UserError:
                continue
            assert sum(array.size for array in arrays.values()) <= 8


# --- hub ids ---


def test_hub_ids_are_distinguished_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/digits").mkdir(parents=True)
    assert hub.is_hub_id("hf://out/digits")
    assert hub.is_hub_id("timm/inception_next_atto.sail_in1k")
    for path in ("out/digits", "/abs/path", "a/b/c", "../x", "name"):
        assert not hub.is_hub_id(path)


def test_a_hub_file_comes_from_the_cache_or_the_error_says_where_to_fetch_it(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    wanted = "https://huggingface.co/owner/net/resolve/main/model.safetensors"
    with pytest.raises(UserError, match=f"HF_HUB_OFFLINE.*{wanted}.*instead of hf://owner/net"):
        hub.fetch_weights("hf://owner/net")
    with pytest.raises(UserError, match="is not a hub id"):
        hub.fetch_weights("hf://../../etc")
    cached = tmp_path / "models--owner--net"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("abc")
    (cached / "snapshots/abc").mkdir(parents=True)
    (cached / "snapshots/abc/model.safetensors").write_bytes(b"")
    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *a: download(*a, cache_dir=tmp_path)
    )
    assert hub.fetch_weights("owner/net").read_bytes() == b""
