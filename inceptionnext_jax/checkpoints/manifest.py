"""The manifest of a checkpoint: every file's size and SHA-256, kept beside the files.

It is written after all processes have written their files and before the step gets its name, so a
step without one is not a complete checkpoint.
"""

import hashlib
import json
import os

from inceptionnext_jax.checkpoints import evaluation
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

NAME = "MANIFEST.json"
# Written after the manifest: Orbax's marker, where a rename is not the commit, and the evaluation.
_UNLISTED = {NAME, storage.COMMITTED, evaluation.NAME}
_SMALL = 2**16  # bytes; files up to this size are always read

Entry = dict[str, int | str]  # {"size": bytes, "sha256": hex}


def write_manifest(folder: StoragePath) -> None:
    """Writes the manifest from the files as read back, and flushes everything to the disk."""
    files = {name: _entry(path, sync=True) for name, path in _files(folder).items()}
    manifest = folder / NAME
    with manifest.open("w", encoding="utf-8") as file:
        file.write(_text(files))
        if not storage.in_bucket(folder):
            file.flush()
            os.fsync(file.fileno())


def find_damage(folder: StoragePath, thorough: bool = True) -> str | None:
    """Returns the first damage in a step's folder, naming the file, or None.

    thorough: read every byte; otherwise large files are compared by size only.
    """
    name = NAME
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        files: dict[str, Entry] = json.loads(text)["files"]
        # Comparing the whole text also finds a changed byte of the manifest itself.
        if text != _text(files) or not files:
            return f"{NAME} is damaged"
        for name, expected in files.items():
            problem = _file_damage(folder / name, expected, thorough)
            if problem:
                return f"{name} {problem}"
        unknown = _files(folder).keys() - files.keys()
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} is damaged"
    return f"{min(unknown)} does not belong there" if unknown else None


def _files(folder: StoragePath) -> dict[str, StoragePath]:
    """{name in the manifest: path} of all files that a manifest lists."""
    named = {path.relative_to(folder).as_posix(): path for path in storage.files_below(folder)}
    return {name: path for name, path in named.items() if name not in _UNLISTED}


def _entry(path: StoragePath, sync: bool = False) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if sync and not storage.in_bucket(path):
            os.fsync(file.fileno())
        return {"size": file.tell(), "sha256": digest}


def _file_damage(path: StoragePath, expected: Entry, thorough: bool) -> str | None:
    size = storage.size(path)
    if size != expected["size"]:
        return f"is {size} bytes, expected {expected['size']}"
    if (thorough or size <= _SMALL) and _entry(path) != expected:
        return "has other bytes than were saved (SHA-256 differs)"
    return None


def _text(files: dict[str, Entry]) -> str:
    return json.dumps({"files": files}, indent=0, sort_keys=True) + "\n"
