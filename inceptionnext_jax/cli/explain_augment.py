"""`explain augment`: the images of a run as its training step sees them."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.pictures import add_target, picture_target, save_picture

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from inceptionnext_jax.tasks.kind import Sheet
    from inceptionnext_jax.types import HostBatch

_DESCRIPTION = """\
Draws augmented training images as the training step sees them: the same images, crops, draws and
targets as in `main.py` with this config, on any devices.

Classification: each row is a part of another group of images that are mixed with each other; below
an image are its labels and their shares (the target without label smoothing). The noise of random
erasing is clipped to the range of a picture.
Segmentation: below an image is the same with the colours of its label map; areas without a label
are hatched.
Detection: each object has its box, its mask and its class; padding is grey.
"""
_EXAMPLES = """\
examples:
  python -m inceptionnext_jax explain augment --config=configs/tiny.py:debug --to=sheet.png
  python -m inceptionnext_jax explain augment --config=configs/digits.py --to=sheet.png \\
      --step=100 --config.augment.rand_augment=rand-m9-mstd0.5-inc1 --config.augment.mixup=0.8 \\
      --config.augment.cutmix=1.0 --config.augment.mix_group_size=32
  python -m inceptionnext_jax explain augment --config=configs/segmentation/digits.py \\
      --to=scenes.png --rows=2 --columns=4 --config.augment.photometric=True
  python -m inceptionnext_jax explain augment --config=configs/detection/digits.py \\
      --to=objects.png --rows=2 --columns=4
"""


def add_parser(kinds: Any) -> None:
    """Adds `explain augment` to the command line."""
    parser = add_command(
        kinds,
        "augment",
        help="a contact sheet of augmented training images with their labels",
        usage="%(prog)s --config=FILE[:VARIANT] --to=FILE.png [--config.KEY=VALUE …] "
        "[--rows=N] [--columns=N] [--step=N]",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
        takes_config=True,
    )
    required = parser.add_argument_group("required")
    required.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="as main.py's")
    add_target(required)
    parser.add_argument(
        "--config.KEY", dest="_", metavar="VALUE", help="any key of the config, as main.py takes it"
    )
    for name, default, what in (
        ("rows", 4, "groups of images, from several steps if one has too few"),
        ("columns", 8, "images of each group"),
        ("step", 1, "the first step (1 is a run's first)"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the contact sheet and prints its size."""
    target = picture_target(args)
    # Imported late to keep the help page fast.
    from inceptionnext_jax.cli.flags import config_from
    from inceptionnext_jax.explain.grid import draw_grid
    from inceptionnext_jax.explain.tiles import LABELLED_STYLE

    config = config_from([f"--config={args.config}", *args.overrides])
    sheet, rows = augmented_rows(config, args.step, args.rows, args.columns)
    tiles = sheet.draw([row.batch for row in rows])
    picture = draw_grid(
        f"{args.config} on {config.data.name} from step {args.step} on",
        sheet.recipe,
        tiles.rows,
        headings=[row.heading for row in rows],
        legend=tiles.legend,
        style=LABELLED_STYLE,
    )
    save_picture(picture, target)
    print(f"wrote {args.to}: {len(rows)} rows of {len(tiles.rows[0])} images")
    return 0


@dataclass(frozen=True)
class Row:
    """A row of the sheet.

    Attributes:
      heading: Step and positions.
      batch: The augmented images, with their targets.
    """

    heading: str
    batch: "HostBatch"


@dataclass(frozen=True)
class _Group:
    """Consecutive images of a step's batch, positions first .. first + size - 1."""

    step: int
    index: int
    size: int

    @property
    def first(self) -> int:
        return self.index * self.size


def augmented_rows(
    config: "ConfigDict", step: int, rows: int, columns: int
) -> "tuple[Sheet, list[Row]]":
    """Augments up to `columns` images of each of `rows` groups, beginning at `step` (≥ 1).

    Loads and augments with the functions of main.py, but groups instead of whole batches: positions
    in the global batch decide every draw, so the pixels are the same.

    Raises:
      UserError: The config or the data are faulty.
    """
    from inceptionnext_jax.cli import job
    from inceptionnext_jax.tasks import task_kind
    from inceptionnext_jax.tasks.check import check
    from inceptionnext_jax.train import validate

    config = config.copy_and_resolve_references()
    # The images do not depend on these, so a pod's config works on a laptop.
    config.mesh.data, config.mesh.fsdp, config.data.workers = -1, 1, 0
    job.configure_jax(config)
    validate.refuse(check(config, devices=1))
    kind = task_kind(config.task)
    dataset = kind.open_data(config)
    validate.refuse(kind.check_data(config, dataset))
    built, sheet = kind.build(config, dataset), kind.sheet(config, dataset)
    plan = job.make_plan(config, dataset, built, devices=1)
    # Images that need no partners are loaded only if they are shown.
    size = sheet.group_size or min(columns, plan.batch_size)
    per_step = plan.batch_size // size
    groups = [_Group(step + row // per_step, row % per_step, size) for row in range(rows)]
    found: list[Row] = []
    for group, batch in _augmented(config, plan, built, groups):
        shown = {name: array[:columns] for name, array in batch.items()}
        found.append(Row(_heading(group, min(columns, size)), shown))
    return sheet, found


def _augmented(config: "ConfigDict", plan: Any, built: Any, groups: list[_Group]):
    """Yields (group, its augmented batch as numpy arrays) in order."""
    import jax
    import numpy as np

    from inceptionnext_jax.cli.job import open_training
    from inceptionnext_jax.train.step import step_keys

    augment = jax.jit(built.task.augment)
    for step in sorted({group.step for group in groups}):
        wanted = [group for group in groups if group.step == step]
        positions = np.concatenate(
            [np.arange(group.first, group.first + group.size, dtype=np.int32) for group in wanted]
        )
        with open_training(config, plan, built.train, positions, step - 1, step) as batches:
            loaded = next(batches)
        augment_key, _ = step_keys(config.seed, step - 1)
        for number, group in enumerate(wanted):
            part = slice(number * group.size, (number + 1) * group.size)
            batch = {key: value[part] for key, value in loaded.items()}
            yield group, jax.tree.map(np.asarray, augment(augment_key, batch, positions[part]))


def _heading(group: _Group, count: int) -> str:
    last = group.first + group.size - 1
    where = f"positions {group.first}–{group.first + count - 1}"
    of = f" of group {group.first}–{last}" if count < group.size else ""
    return f"step {group.step} · {where}{of}"
