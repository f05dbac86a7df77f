"""The steps in a workdir: the finished ones, the newest undamaged one, and leftovers."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from inceptionnext_jax.checkpoints.manifest import find_damage
from inceptionnext_jax.errors import RunError
from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

FOLDER = storage.CHECKPOINTS
TRASH = "trash"  # steps to delete are moved here first, so that no step is ever half deleted
DAMAGED_SUFFIX = ".damaged"
UNFINISHED = "*.orbax-checkpoint-tmp*"
_NUMBER = re.compile("0|[1-9][0-9]*")
SHOWN = 3  # damaged steps that a message lists

Warn = Callable[[str], None]


def warn_on_stderr(text: str) -> None:
    """Prints a warning."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def step_folders(workdir: StoragePath) -> list[StoragePath]:
    """The folders of all finished steps, newest first."""
    found = [path for path in _numbered(workdir) if storage.is_committed(path)]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def damaged_folders(workdir: StoragePath) -> list[StoragePath]:
    """The folders of damaged steps that were renamed by `set_damaged_aside`."""
    return sorted((workdir / FOLDER).glob(f"[0-9]*{DAMAGED_SUFFIX}*"))


def leftovers(workdir: StoragePath) -> list[StoragePath]:
    """Folders left by killed runs: unfinished saves, and steps that were being deleted."""
    trash = workdir / FOLDER / TRASH
    unfinished = [path for path in _numbered(workdir) if not storage.is_committed(path)]
    unfinished += (workdir / FOLDER).glob(UNFINISHED)
    return sorted(unfinished) + ([trash] if trash.is_dir() else [])


def remove_leftovers(workdir: StoragePath) -> None:
    """Deletes what can be deleted of `leftovers`."""
    for leftover in leftovers(workdir):
        with contextlib.suppress(OSError):
            storage.delete(leftover)


def _numbered(workdir: StoragePath) -> list[StoragePath]:
    found = storage.list_folder(workdir / FOLDER)
    return [path for path in found if _NUMBER.fullmatch(path.name) and path.is_dir()]


def newest_undamaged(workdir: StoragePath, warn: Warn = warn_on_stderr) -> StoragePath | None:
    """The newest step's folder whose bytes are those that were saved; None if there are no steps.

    Changes nothing; newer, damaged steps are passed to `warn`. Raises RunError if there are steps
    and all are damaged.
    """
    damaged: dict[StoragePath, str] = {}
    for path in step_folders(workdir):
        damage = find_damage(path)
        if damage is None:
            for bad, why in damaged.items():
                warn(f"{damage_message(bad, why)}; taking step {path.name}")
            return path
        damaged[path] = damage
    _raise_if_all_damaged(workdir, damaged)
    return None


def set_damaged_aside(workdir: StoragePath, warn: Warn = warn_on_stderr) -> int | None:
    """Prepares the steps for a run that writes: returns the one to resume from, None if none.

    Removes leftovers. Adds the suffix ".damaged" to damaged steps, so that the run can save their
    numbers again and they do not count as kept. If all are damaged, nothing is renamed and
    RunError is raised: a run that has made progress never restarts from scratch by itself.
    """
    remove_leftovers(workdir)
    damages = dict(_find_damages(workdir))
    good = [int(path.name) for path, damage in damages.items() if damage is None]
    damaged = {path: damage for path, damage in damages.items() if damage is not None}
    if not good:
        _raise_if_all_damaged(workdir, damaged)
        return None
    for path, damage in damaged.items():
        aside = _free_name(path)
        path.rename(aside)
        warn(f"{damage_message(path, damage)}; kept as {aside.name}, resuming from step {good[0]}")
    return good[0]


def damage_message(path: StoragePath, damage: str) -> str:
    """The beginning of a message about a damaged step."""
    return f"checkpoint {path} is damaged: {damage}"


def _find_damages(workdir: StoragePath) -> Iterator[tuple[StoragePath, str | None]]:
    """(step's folder, damage), newest first; large files are not read after an undamaged step."""
    thorough = True
    for path in step_folders(workdir):
        damage = find_damage(path, thorough)
        thorough = thorough and damage is not None
        yield path, damage


def _raise_if_all_damaged(workdir: StoragePath, damaged: dict[StoragePath, str]) -> None:
    """Raises RunError if there are any damaged steps, renamed ones included."""
    everything = damaged | dict.fromkeys(damaged_folders(workdir), "set aside before")
    if not everything:
        return
    some = [f"{path.name}: {damage}" for path, damage in list(everything.items())[:SHOWN]]
    more = ", …" if len(everything) > SHOWN else ""
    raise RunError(
        f"no checkpoint in {workdir / FOLDER} is whole ({'; '.join(some)}{more}); put back a copy, "
        f"or take a new workdir: this one is left as it is"
    )


def _free_name(path: StoragePath) -> StoragePath:
    name, number = path.with_name(path.name + DAMAGED_SUFFIX), 1
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}{DAMAGED_SUFFIX}-{number}")
    return name
