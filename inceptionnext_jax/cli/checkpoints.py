"""`checkpoints`: lists, verifies and prunes the steps in a workdir."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.parser import add_command
from inceptionnext_jax.cli.table import print_table
from inceptionnext_jax.errors import UserError

if TYPE_CHECKING:
    from inceptionnext_jax.workdir.storage import StoragePath

_HEADER = ("step", "size", "saved", "state", "metrics")
_DAMAGED = 1  # exit code if --verify finds damage
_EXAMPLES = """\
examples (the first trains two steps on synthetic images, so that there is something to list):
  python main.py --config=configs/atto.py:debug --workdir=out/debug
  python -m inceptionnext_jax checkpoints out/debug
  python -m inceptionnext_jax checkpoints out/debug --verify
  python -m inceptionnext_jax checkpoints out/debug --prune
"""


def add_parser(subparsers: Any) -> None:
    """Adds `checkpoints` to the command line."""
    parser = add_command(
        subparsers,
        "checkpoints",
        help="list a workdir's checkpoints; verify or prune them",
        description="Lists the checkpoints of a workdir, newest first, and compares them with "
        "their manifests.",
        examples=_EXAMPLES,
    )
    parser.add_argument("workdir", metavar="WORKDIR", help="a run's folder, or gs://…")
    parser.add_argument("--verify", action="store_true", help="compare every byte's checksum")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete damaged steps and leftovers of killed runs (compares every byte first)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the table; returns 1 if --verify finds damage."""
    from inceptionnext_jax.workdir import storage

    workdir = storage.storage_path(args.workdir)
    with storage.explaining_bucket_errors(workdir):
        if not workdir.is_dir():
            raise UserError(f"{args.workdir} is not a folder; expected the workdir of a run")
        return _list(workdir, args)


def _list(workdir: "StoragePath", args: argparse.Namespace) -> int:
    from inceptionnext_jax.checkpoints import steps

    thorough = args.verify or args.prune
    rows, damaged = [], []
    for folder in steps.step_folders(workdir):
        row, whole = _row(folder, thorough)
        rows.append(row)
        damaged += [] if whole else [folder]
    aside, left = steps.damaged_folders(workdir), steps.leftovers(workdir)
    rows += [(path.name, _size(path), "", "set aside as damaged", "") for path in aside]
    rows += [(path.name, _size(path), "", "left by a killed run", "") for path in left]
    if not rows:
        print(f"no checkpoints in {workdir}")
        return 0
    print_table([_HEADER, *rows])
    if args.prune:
        _prune(workdir, damaged + aside + left)
        return 0
    return _DAMAGED if args.verify and damaged else 0


def _row(folder: "StoragePath", thorough: bool) -> tuple[tuple[str, ...], bool]:
    """(the table's row, whether the files that were read are undamaged)."""
    from inceptionnext_jax.checkpoints.manifest import NAME, find_damage
    from inceptionnext_jax.workdir import storage

    damage = find_damage(folder, thorough)
    state = f"damaged: {damage}" if damage else ("verified" if thorough else "complete")
    manifest = folder / NAME
    seconds = storage.modified(manifest if manifest.is_file() else folder)
    saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return (folder.name, _size(folder), saved, state, _metrics(folder)), damage is None


def _metrics(folder: "StoragePath") -> str:
    from inceptionnext_jax.checkpoints.evaluation import read_evaluation

    evaluation = read_evaluation(folder)
    scores = evaluation.scores if evaluation else {}
    return ", ".join(f"{key} {value:.4g}" for key, value in scores.items())


def _size(folder: "StoragePath") -> str:
    from inceptionnext_jax.workdir import storage

    total = sum(map(storage.size, storage.files_below(folder)))
    return f"{total / 2**20:.1f} MiB"


def _prune(workdir: "StoragePath", folders: "list[StoragePath]") -> None:
    from inceptionnext_jax.workdir import storage
    from inceptionnext_jax.workdir.lock import acquire_lock

    lock = acquire_lock(workdir)  # a running job may be about to finish an unfinished step
    try:
        for folder in folders:
            storage.delete(folder)
            print(f"deleted {folder}")
    except OSError as error:
        raise UserError(f"{error.filename} cannot be deleted ({error.strerror})") from error
    finally:
        lock.release()
