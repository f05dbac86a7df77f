"""Malicious and damaged files, through the whole command: refused, and nothing is written."""

import os
import shutil
import stat
import sys
import zipfile

import pytest

from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert.torch_weights import KINDS
from tests.convert import test_files as hostile

ATTO = "inceptionnext_atto"


def pickled(content):
    return content if isinstance(content, bytes) else hostile.pickle.dumps({"w": content}, 2)


def torch_archive(pickle_bytes):
    def make(path):
        hostile.archive(path, pickle_bytes, [hostile.TWO])

    return make


def npz_named(name):
    """Arrays with paths for names; a careless extraction would write outside."""

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


def linked(name):
    """An archive whose entry is a symbolic link, as `zip --symlinks` writes it."""

    def make(path):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "w") as file:
            if name.endswith("/data/0"):
                file.writestr("archive/data.pkl", hostile.tensor_pickle())
            file.writestr(entry, "/etc/passwd")

    return make


def loop(path):
    path.symlink_to(path)


def link_to_others_file(path):
    path.symlink_to("/etc/passwd")


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
    "backslashes.npz": npz_named("..\\..\\escaped.npy"),
    "parent.safetensors": hostile.safetensors(
        {"../../escaped": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, hostile.TWO
    ),
    "link_inside.npz": linked("w.npy"),
    "link_inside.pth": linked("archive/data/0"),
    "link_for_pickle.pth": linked("archive/data.pkl"),
    "others.safetensors": link_to_others_file,
    "others.pth": link_to_others_file,
    "loop.npz": loop,
    "dangling.npz": dangling,
}


def everything(folder, but):
    """All files below a folder with time and content, except one."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if path != but
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_are_refused_and_nothing_is_written(
    saved, tmp_path, monkeypatch, capsys, name
):
    here = tmp_path / "deep/deeper"  # so that ../../ is still below tmp_path
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    file, target = here / name.replace(" ", "_").replace("^", "_"), here / "target"
    content = HOSTILE[name]
    file.write_bytes(content) if isinstance(content, bytes) else content(file)
    shutil.copytree(saved, target)
    before, modules = everything(tmp_path, file), set(sys.modules)
    command = ["convert", "--model", ATTO, "--from", str(file), "--to", str(target)]
    assert main(command) == 2
    *listed, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 700 + len(str(file))
    # If the file is read and does not fit, the mismatches are listed before.
    assert all(text.startswith((*(f"{kind}: " for kind in KINDS), str(file))) for text in listed)
    assert everything(tmp_path, file) == before
    assert not os.path.exists("/tmp/escaped.npy")
    assert not (set(sys.modules) - modules) & {"torch", "antigravity"}


def test_there_are_more_than_fifty_hostile_files():
    contents = [
        content if isinstance(content, bytes) else name for name, content in HOSTILE.items()
    ]
    assert len(set(contents)) > 50


def test_links_in_the_target_are_replaced_not_followed(saved, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "w").mkdir()
    names = ("w/model.safetensors", "w/config.json", "w.npz", "w.safetensors")
    for name in names:
        (tmp_path / name).symlink_to(precious)
    for name in ("w", "w.npz", "w.safetensors"):
        assert main(["convert", "--from", str(saved), "--to", str(tmp_path / name)]) == 0
    assert precious.read_text() == "mine"
    assert not any((tmp_path / name).is_symlink() for name in names)
