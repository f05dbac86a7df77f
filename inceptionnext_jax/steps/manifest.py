"""What a complete checkpoint consists of: every file's size and SHA-256, kept beside the files.

The manifest is written when all processes have written their files and before the step gets its
name, so a step without one is not a checkpoint of ours.
"""

import hashlib
import json
import os
from pathlib import Path

NAME = "MANIFEST.json"
# Written by Orbax after the manifest, and read by nobody where a rename is the commit.
_UNLISTED = {NAME, "commit_success.txt"}
_SMALL = 2**16  # bytes; files up to here are always read

Entry = dict[str, int | str]  # {"size": bytes, "sha256": hex}


def write_manifest(folder: Path) -> None:
    """Reads back all that was written to `folder`, and sends it to the disk with the manifest."""
    files = {
        path.relative_to(folder).as_posix(): _entry(path, sync=True) for path in _files(folder)
    }
    with (folder / NAME).open("w", encoding="utf-8") as file:
        file.write(_text(files))
        file.flush()
        os.fsync(file.fileno())


def find_damage(folder: Path, thorough: bool = True) -> str | None:
    """Returns what is wrong with a step's folder, naming the file, or None.

    thorough: read every byte; otherwise of large files only the size is compared.
    """
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        files: dict[str, Entry] = json.loads(text)["files"]
        # Written back, so that no changed byte of the manifest itself goes unnoticed.
        if text != _text(files) or not files:
            return f"{NAME} is damaged"
        for name, expected in files.items():
            problem = _damage_of(folder / name, expected, thorough)
            if problem:
                return f"{name} {problem}"
        unknown = {path.relative_to(folder).as_posix() for path in _files(folder)} - files.keys()
    except FileNotFoundError as error:
        return f"{_relative(error.filename, folder)} is missing"
    except OSError as error:
        return f"{_relative(error.filename, folder)} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} is damaged"
    return f"{min(unknown)} does not belong there" if unknown else None


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in _UNLISTED
    )


def _entry(path: Path, sync: bool = False) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
        return {"size": os.fstat(file.fileno()).st_size, "sha256": digest}


def _damage_of(path: Path, expected: Entry, thorough: bool) -> str | None:
    size = path.stat().st_size
    if size != expected["size"]:
        return f"is {size} bytes, expected {expected['size']}"
    if (thorough or size <= _SMALL) and _entry(path) != expected:
        return "has other bytes than were saved (SHA-256 differs)"
    return None


def _text(files: dict[str, Entry]) -> str:
    return json.dumps({"files": files}, indent=0, sort_keys=True) + "\n"


def _relative(filename: str | None, folder: Path) -> str:
    return os.path.relpath(filename, folder) if filename else folder.name
