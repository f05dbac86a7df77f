"""The description of a run: config, versions and commit, in config.json and every checkpoint."""

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.workdir.storage import StoragePath

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")
# Changing one of these would make the rest of the run a different experiment.
FIXED = ("model.", "data.name", "seed", "batch_size")


def describe(config: ConfigDict, resolved: dict[str, str]) -> dict[str, Any]:
    """The description of a run; `resolved` maps names to derived values."""
    return {
        "config": config_as_json(config),
        "resolved": resolved,
        "versions": versions(),
        "git_commit": git_commit(),
    }


def config_as_json(config: ConfigDict) -> dict[str, Any]:
    """A config as plain JSON types."""
    return json.loads(json.dumps(config.to_dict()))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{p: metadata.version(p) for p in PACKAGES}}


def git_commit() -> str | None:
    """The commit of the running code, with "+changes" if files differ; None outside git.

    An installed package may lie in the repository of another project, whose commit says nothing.
    """
    folder = Path(__file__).parent
    try:
        root = Path(_git(folder, "rev-parse", "--show-toplevel"))
        if root.resolve() != folder.parents[1].resolve():
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def write_config(workdir: Path, description: dict[str, Any]) -> None:
    """Writes config.json."""
    write_atomically(workdir / "config.json", json.dumps(description, indent=1) + "\n")


def changed_keys(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, tuple]:
    """{dotted key: (before, now)} for every value that differs."""
    changes: dict[str, tuple] = {}
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes |= changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            changes[prefix + key] = (old, new)
    return changes


def check_resumable(changes: dict[str, tuple], workdir: StoragePath) -> None:
    """Raises UserError if a key has changed that must stay the same during a run."""
    refused = [key for key in changes if key.startswith(FIXED)]
    if refused:
        what = "; ".join(f"{key}: {changes[key][0]!r} → {changes[key][1]!r}" for key in refused)
        raise UserError(
            f"--workdir={workdir} was begun with another config ({what}); put the value back, or "
            f"take a new workdir (with init_from to start from these weights)"
        )
