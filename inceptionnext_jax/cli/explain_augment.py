"""`explain augment`: the images of a run as its training step sees them."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.parser import add_command, positive
from inceptionnext_jax.cli.pictures import add_target, picture_target, save_picture

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict
    from PIL.Image import Image

    from inceptionnext_jax.explain.tiles import Weights

_MAX_LABELS = 3  # in a caption
_MIN_SHARE = 0.005  # of a label in a caption: smaller ones would read 0.00

_DESCRIPTION = """\
Draws augmented training images as the training step sees them: the same images, crops, draws and
soft targets as in `main.py` with this config, on any devices. Each row is a part of another group
of images that are mixed with each other; below an image are its labels and their shares (the target
without label smoothing). The noise of random erasing is clipped to the range of a picture.
"""
_EXAMPLES = """\
examples:
  python -m inceptionnext_jax explain augment --config=configs/tiny.py:debug --to=sheet.png
  python -m inceptionnext_jax explain augment --config=configs/digits.py --to=sheet.png \\
      --step=100 --config.augment.rand_augment=rand-m9-mstd0.5-inc1 --config.augment.mixup=0.8 \\
      --config.augment.cutmix=1.0 --config.augment.mix_group_size=32
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
        ("rows", 4, "mixing groups, from several steps if one has too few"),
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

    config = config_from([f"--config={args.config}", *args.overrides])
    rows = augmented_rows(config, args.step, args.rows, args.columns)
    title = f"{args.config} on {config.data.name} from step {args.step} on"
    save_picture(contact_sheet(title, _recipe(config), rows), target)
    print(f"wrote {args.to}: {len(rows)} rows of {len(rows[0].images)} images")
    return 0


@dataclass(frozen=True)
class Row:
    """A row of the sheet.

    Attributes:
      heading: Step and positions.
      images: [N, H, W, 3] uint8.
      weights: Labels and shares of each image.
    """

    heading: str
    images: "np.ndarray"
    weights: "list[Weights]"


def contact_sheet(title: str, lines: list[str], rows: list[Row]) -> "Image":
    """Draws the rows; every pixel of an image becomes a square of equal pixels."""
    from inceptionnext_jax.explain.grid import draw_grid
    from inceptionnext_jax.explain.tiles import LABELLED_STYLE, labelled

    lines_below = max(len(weights) for row in rows for weights in row.weights)
    tiles = [
        [labelled(*pair, lines_below) for pair in zip(row.images, row.weights, strict=True)]
        for row in rows
    ]
    headings = [row.heading for row in rows]
    return draw_grid(title, lines, tiles, headings=headings, style=LABELLED_STYLE)


@dataclass(frozen=True)
class _Group:
    """Consecutive images of a step's batch, positions first .. first + size - 1."""

    step: int
    index: int
    size: int

    @property
    def first(self) -> int:
        return self.index * self.size


def augmented_rows(config: "ConfigDict", step: int, rows: int, columns: int) -> list[Row]:
    """Augments up to `columns` images of each of `rows` mixing groups, beginning at `step` (≥ 1).

    Loads and augments with the functions of main.py, but groups instead of whole batches: positions
    in the global batch decide every draw, so the pixels are the same.

    Raises:
      UserError: The config or the data are faulty.
    """
    from inceptionnext_jax import models
    from inceptionnext_jax.augment.recipe import AugmentSettings
    from inceptionnext_jax.cli import job
    from inceptionnext_jax.tasks.check import check
    from inceptionnext_jax.tasks.classification import build
    from inceptionnext_jax.train import validate

    config = config.copy_and_resolve_references()
    # The images do not depend on these, so a pod's config works on a laptop.
    config.mesh.data, config.mesh.fsdp, config.data.workers = -1, 1, 0
    job.configure_jax(config)
    validate.refuse(check(config, devices=1))
    dataset = build.open_data(config)
    validate.refuse(build.check_data(config, dataset))
    built = build.build(config, dataset)
    plan = job.make_plan(config, dataset, built, devices=1)
    augment = config.augment
    mixes = AugmentSettings(
        mixup=augment.mixup, cutmix=augment.cutmix, mix_prob=augment.mix_prob
    ).mixes
    # Without mixing, images need no partners: only those shown are loaded.
    size = build.mix_group(config) if mixes else min(columns, plan.batch_size)
    per_step = plan.batch_size // size
    groups = [_Group(step + row // per_step, row % per_step, size) for row in range(rows)]
    info = models.model_info(config.model.name)
    found: list[Row] = []
    for group, batch in _augmented(config, plan, built, groups):
        images = batch["image"][:columns]
        weights = [
            _weights(target, config.loss.label_smoothing, dataset.class_names)
            for target in batch["target"][:columns]
        ]
        found.append(_row(group, len(images), _pixels(images, info.mean, info.std), weights))
    return found


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


def _row(group: _Group, count: int, pixels: "np.ndarray", weights: "list[Weights]") -> Row:
    last = group.first + group.size - 1
    where = f"positions {group.first}–{group.first + count - 1}"
    of = f" of group {group.first}–{last}" if count < group.size else ""
    return Row(f"step {group.step} · {where}{of}", pixels, weights)


def _pixels(images: "np.ndarray", mean: tuple, std: tuple) -> "np.ndarray":
    """Returns normalised images as uint8, clipped."""
    import numpy as np

    values = (images.astype(np.float64) * std + mean) * 255
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _weights(target: "np.ndarray", smoothing: float, class_names: tuple[str, ...]) -> "Weights":
    """The largest labels of a target and their shares, before label smoothing."""
    import numpy as np

    shares = (target.astype(np.float64) - smoothing / len(target)) / (1 - smoothing)
    order = [int(k) for k in np.argsort(-shares, kind="stable")[:_MAX_LABELS]]
    order = [k for k in order if shares[k] > _MIN_SHARE]
    names = [class_names[k] if k < len(class_names) else str(k) for k in order]
    return [(name, float(shares[k])) for name, k in zip(names, order, strict=True)]


def _recipe(config: "ConfigDict") -> list[str]:
    """The steps of the augmentation in words and in order."""
    a = config.augment
    filters = "bilinear or bicubic" if a.interpolation == "random" else a.interpolation
    jitter = f"colour jitter {a.color_jitter:g}" if a.color_jitter else ""
    kinds = [f"mixup {a.mixup:g}" if a.mixup else "", f"CutMix {a.cutmix:g}" if a.cutmix else ""]
    mix = " or ".join(filter(None, kinds)) if a.mix_prob else ""
    if mix:
        mix += f" in groups of {min(a.mix_group_size or config.batch_size, config.batch_size)}"
    erase = f"erase {a.random_erasing:g}" if a.random_erasing else ""
    stages = [
        f"crop {a.scale[0]:g}–{a.scale[1]:g} to {config.data.image_size} px ({filters})",
        f"flip {a.hflip:g}" if a.hflip else "",
        a.rand_augment or jitter,
        *((mix, "normalise", erase) if a.order == "inceptionnext" else ("normalise", erase, mix)),
    ]
    return [
        f"order {a.order}: " + " → ".join(filter(None, stages)),
        f"seed {config.seed} · batch {config.batch_size} · "
        f"label smoothing {config.loss.label_smoothing:g}, not in the shares",
    ]
