"""Paths on this machine's disk or in a Google Cloud Storage bucket (gs://…).

A bucket holds objects and no folders, and has no atomic rename. etils covers what both have in
common; this module covers the rest.
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
# The object that Orbax writes last where a rename cannot be the commit.
COMMITTED = "commit_success.txt"
# Packages whose errors mean for a bucket what an OSError means for a disk.
_BUCKET_PACKAGES = {"gcsfs", "aiohttp", "google", "requests"}

StoragePath: TypeAlias = Path | epath.Path


def storage_path(given: str | Path | epath.Path) -> StoragePath:
    """An absolute path, as Orbax requires; in a bucket if it begins with gs://.

    Raises UserError for another scheme, and if the package for buckets is missing.
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

    # If TensorFlow is installed, etils would use its file system: ten seconds, 700 MB, and it
    # cannot share a process with torch.
    os.environ.setdefault("EPATH_USE_TF", "0")
    # TensorStore bypasses gcsfs, whose cached listings would be out of date.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    # It logs, with tracebacks, errors that it then raises or recovers from.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def in_bucket(path: StoragePath) -> bool:
    """Whether a path lies in a bucket."""
    return not isinstance(path, Path)


def is_storage_error(error: BaseException) -> bool:
    """Whether an error comes from a disk, a network or a bucket, and not from a program."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _BUCKET_PACKAGES


@contextmanager
def explaining_bucket_errors(path: StoragePath) -> Iterator[None]:
    """Raises UserError if a bucket cannot be read."""
    try:
        yield
    except Exception as error:
        if not in_bucket(path) or not is_storage_error(error):
            raise
        raise UserError(
            f"{path} cannot be read ({first_line(error)}); check the bucket's name, the network "
            f"and your rights"
        ) from error


def is_committed(folder: StoragePath) -> bool:
    """Whether a numbered folder is a complete step: always on disk, by an object in a bucket."""
    return not in_bucket(folder) or (folder / COMMITTED).exists()


def list_folder(folder: StoragePath) -> list[StoragePath]:
    """The paths in a folder; none if it is missing."""
    return list(folder.iterdir()) if folder.is_dir() else []


def files_below(folder: StoragePath) -> list[StoragePath]:
    """All files in a folder and its subfolders, sorted."""
    if isinstance(folder, Path):
        return sorted(path for path in folder.rglob("*") if path.is_file())
    import fsspec

    # etils has no recursive glob, and its walk loses the scheme.
    found = fsspec.filesystem("gcs").find(os.fspath(folder))
    return sorted(epath.Path(f"{SCHEME}{name}") for name in found if not name.endswith("/"))


def size(path: StoragePath) -> int:
    """A file's bytes."""
    return path.stat().st_size if isinstance(path, Path) else path.stat().length


def modified(path: StoragePath) -> float:
    """The time of the last change, in Unix seconds."""
    return path.stat().st_mtime if isinstance(path, Path) else path.stat().mtime


def delete(folder: StoragePath) -> None:
    """Deletes a folder with everything in it."""
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.rmtree()
