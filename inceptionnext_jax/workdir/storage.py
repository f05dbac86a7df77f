"""Where runs live: folders of this machine, or of a Google Cloud Storage bucket (gs://…).

A bucket holds objects and no folders: nothing is renamed there in one go. etils carries what looks
alike in both; what does not is here.
"""

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from etils import epath

from inceptionnext_jax.errors import UserError, first_line

SCHEME = "gs://"
CHECKPOINTS = "checkpoints"  # the folder in a workdir that holds the steps
# What Orbax writes last where a rename cannot be the commit.
COMMITTED = "commit_success.txt"
# Packages whose errors tell of a bucket what an OSError tells of a disk.
_OF_BUCKETS = {"gcsfs", "aiohttp", "google", "requests"}

StoragePath: TypeAlias = Path | epath.Path


def storage_path(given: str | Path | epath.Path) -> StoragePath:
    """An absolute path, as Orbax wants it; in a bucket where it begins with gs://.

    Raises UserError for another scheme, and where the package for buckets is missing.
    """
    text = os.fspath(given)
    if text.startswith(SCHEME):
        _prepare_buckets(text)
        return epath.Path(text)
    if "://" in text:
        raise UserError(f"{text} is neither a folder nor in a bucket ({SCHEME}bucket/folder)")
    return Path(text).expanduser().absolute()


def _prepare_buckets(text: str) -> None:
    if not text.removeprefix(SCHEME).strip("/"):
        raise UserError(f"{text} names no bucket; expected {SCHEME}bucket/folder")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{text} needs the package gcsfs; run: pip install -e '.[gcs]'")
    import fsspec

    # With TensorFlow installed etils would take its file system: ten seconds, 700 MB, and torch
    # does not live beside it.
    os.environ.setdefault("EPATH_USE_TF", "0")
    # TensorStore writes past gcsfs, whose memory of what a folder holds would be out of date.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    # It logs, with tracebacks, what it then raises or does in another way.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def in_bucket(path: StoragePath) -> bool:
    return not isinstance(path, Path)


def is_trouble(error: BaseException) -> bool:
    """Whether an error is of a disk, a network or a bucket, and not of a program."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _OF_BUCKETS


@contextmanager
def reaching(path: StoragePath) -> Iterator[None]:
    """Raises UserError where a bucket cannot be read."""
    try:
        yield
    except Exception as error:
        if not in_bucket(path) or not is_trouble(error):
            raise
        raise UserError(
            f"{path} cannot be read ({first_line(error)}); check the bucket's name, the network "
            f"and your rights"
        ) from error


def is_committed(folder: StoragePath) -> bool:
    """Whether all of a step is there: its name says so, but for buckets."""
    return not in_bucket(folder) or (folder / COMMITTED).exists()


def entries(folder: StoragePath) -> list[StoragePath]:
    """What a folder holds; nothing where it is missing."""
    return list(folder.iterdir()) if folder.is_dir() else []


def files_below(folder: StoragePath) -> list[StoragePath]:
    """All files in a folder and its folders, in the order of their names."""
    if isinstance(folder, Path):
        return sorted(path for path in folder.rglob("*") if path.is_file())
    import fsspec

    # etils has no recursive glob, and its walk loses the scheme.
    found = fsspec.filesystem("gcs").find(os.fspath(folder))
    return sorted(epath.Path(f"{SCHEME}{name}") for name in found if not name.endswith("/"))


def size(path: StoragePath) -> int:
    """Bytes of a file."""
    return path.stat().st_size if isinstance(path, Path) else path.stat().length


def modified(path: StoragePath) -> float:
    """Unix seconds."""
    return path.stat().st_mtime if isinstance(path, Path) else path.stat().mtime


def delete(folder: StoragePath) -> None:
    """Deletes a folder with all that is in it."""
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.rmtree()
