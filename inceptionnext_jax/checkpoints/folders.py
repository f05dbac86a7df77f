"""The checkpoints on disk: which steps there are, which are whole, and what is left of others."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from inceptionnext_jax.checkpoints.manifest import find_damage
from inceptionnext_jax.errors import RunError
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

FOLDER = storage.CHECKPOINTS
TRASH = "trash"  # steps on their way out: renamed first, so that no step is ever half deleted
ASIDE = ".damaged"
UNFINISHED = "*.orbax-checkpoint-tmp*"
_NUMBER = re.compile("0|[1-9][0-9]*")
SHOWN = 3  # damaged steps that a message lists

Warn = Callable[[str], None]


def to_stderr(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def step_folders(workdir: StoragePath) -> list[StoragePath]:
    """The folders of all finished steps, newest first."""
    found = [path for path in _numbered(workdir) if storage.is_committed(path)]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def set_aside(workdir: StoragePath) -> list[StoragePath]:
    """The folders of damaged steps that were renamed so as not to be used."""
    return sorted((workdir / FOLDER).glob(f"[0-9]*{ASIDE}*"))


def leftovers(workdir: StoragePath) -> list[StoragePath]:
    """What killed runs left: unfinished saves, and steps that were being deleted."""
    trash = workdir / FOLDER / TRASH
    unfinished = [path for path in _numbered(workdir) if not storage.is_committed(path)]
    unfinished += (workdir / FOLDER).glob(UNFINISHED)
    return sorted(unfinished) + ([trash] if trash.is_dir() else [])


def remove_leftovers(workdir: StoragePath) -> None:
    for leftover in leftovers(workdir):
        with contextlib.suppress(OSError):
            storage.delete(leftover)


def _numbered(workdir: StoragePath) -> list[StoragePath]:
    found = storage.entries(workdir / FOLDER)
    return [path for path in found if _NUMBER.fullmatch(path.name) and path.is_dir()]


def newest_good(workdir: StoragePath, warn: Warn = to_stderr) -> StoragePath | None:
    """The newest step's folder whose bytes are those that were saved; None if there are no steps.

    Changes nothing; damaged steps on the way are told to `warn`. Raises RunError where there are
    steps and none is good.
    """
    damaged: dict[StoragePath, str] = {}
    for path in step_folders(workdir):
        what = find_damage(path)
        if what is None:
            for bad, why in damaged.items():
                warn(f"{described(bad, why)}; taking step {path.name}")
            return path
        damaged[path] = what
    _refuse_if_any(workdir, damaged)
    return None


def claim(workdir: StoragePath, warn: Warn = to_stderr) -> int | None:
    """Makes the steps ready for a run that writes: returns the one to go on from, None if none.

    Leftovers are removed. Damaged steps get the suffix ".damaged", so that the run can save their
    numbers again and nothing counts them as kept. Where no step is good nothing is renamed and
    RunError is raised: a run that has got somewhere does not begin anew by itself.
    """
    remove_leftovers(workdir)
    found = dict(_examined(workdir))
    good = [int(path.name) for path, what in found.items() if what is None]
    damaged = {path: what for path, what in found.items() if what is not None}
    if not good:
        _refuse_if_any(workdir, damaged)
        return None
    for path, what in damaged.items():
        aside = _free_name(path)
        path.rename(aside)
        warn(f"{described(path, what)}; kept as {aside.name}, going on from step {good[0]}")
    return good[0]


def described(path: StoragePath, what: str) -> str:
    return f"checkpoint {path} is damaged: {what}"


def _examined(workdir: StoragePath) -> Iterator[tuple[StoragePath, str | None]]:
    """(step's folder, damage), newest first; after a good one large files' bytes are not read."""
    thorough = True
    for path in step_folders(workdir):
        what = find_damage(path, thorough)
        thorough = thorough and what is not None
        yield path, what


def _refuse_if_any(workdir: StoragePath, damaged: dict[StoragePath, str]) -> None:
    everything = damaged | dict.fromkeys(set_aside(workdir), "set aside before")
    if not everything:
        return
    some = [f"{path.name}: {what}" for path, what in list(everything.items())[:SHOWN]]
    more = ", …" if len(everything) > SHOWN else ""
    raise RunError(
        f"no checkpoint in {workdir / FOLDER} is whole ({'; '.join(some)}{more}); put back a copy, "
        f"or take a new workdir: this one is left as it is"
    )


def _free_name(path: StoragePath) -> StoragePath:
    name, number = path.with_name(path.name + ASIDE), 1
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}{ASIDE}-{number}")
    return name
