"""`explain augment`: the images that a run trains on, as its training step sees them."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.pictures import checked_target, positive, save_picture

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    from inceptionnext_jax.explain.sheet import Row, Weights

_LABELS = 3  # a caption names so many labels at most
_SMALLEST = 0.005  # share of a label that is worth a line: smaller ones would read 0.00

_AUGMENT = """\
Draws augmented training images as the training step sees them: the same images, crops, draws and
soft targets as in `main.py` with this config, whatever the devices. Each row is a part of another
group of images that are mixed among themselves; below an image stand its labels and their shares
(the target without label smoothing). Erasing's noise is clipped to what a picture can show.
"""
_EXAMPLES = """\
examples:
  python -m inceptionnext_jax explain augment --config=configs/tiny.py:debug --to=sheet.png
  python -m inceptionnext_jax explain augment --config=configs/digits.py --to=sheet.png \\
      --step=100 --config.augment.rand_augment=rand-m9-mstd0.5-inc1 --config.augment.mixup=0.8 \\
      --config.augment.cutmix=1.0 --config.augment.mix_group_size=32
"""


def add_kind(kinds: Any) -> None:
    """Adds `explain augment` to the command line."""
    parser = kinds.add_parser(
        "augment",
        help="a contact sheet of augmented training images with their labels",
        usage="%(prog)s --config=FILE[:VARIANT] --to=FILE.png [--config.KEY=VALUE …] "
        "[--rows=N] [--columns=N] [--step=N]",
        description=_AUGMENT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    required = parser.add_argument_group("required")
    required.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="as main.py's")
    required.add_argument("--to", required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument(
        "--config.KEY", dest="_", metavar="VALUE", help="any key of the config, as main.py takes it"
    )
    for name, default, what in (
        ("rows", 4, "mixing groups, over following steps where one has too few"),
        ("columns", 8, "images of each group"),
        ("step", 1, "the first step (1 is a run's first)"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=text)
    _accept_overrides(parser)
    parser.set_defaults(explain=explain_augment)


def _accept_overrides(parser: argparse.ArgumentParser) -> None:
    """Lets `parser` collect --config.KEY=VALUE, which it cannot list, in `args.overrides`."""
    parse_known_args = parser.parse_known_args

    def parse(args: list[str], namespace: Any = None) -> Any:
        overrides, rest = _split(args)
        namespace, unknown = parse_known_args(rest, namespace)
        namespace.overrides = overrides
        return namespace, unknown

    parser.parse_known_args = parse  # type: ignore[method-assign, assignment]


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """(config overrides with their values, everything else)."""
    overrides: list[str] = []
    rest: list[str] = []
    waits = False  # for the value of the last override, which had no "="
    for arg in args:
        is_override = arg.startswith("-") and arg.lstrip("-").startswith(("config.", "noconfig."))
        if is_override or (waits and not arg.startswith("-")):
            overrides.append(arg)
        else:
            rest.append(arg)
        waits = is_override and "=" not in arg and not arg.lstrip("-").startswith("no")
    return overrides, rest


def explain_augment(args: argparse.Namespace) -> int:
    """Writes the contact sheet and says what is on it."""
    target = checked_target(args.to)
    # Imported late: the help page needs none of it.
    from inceptionnext_jax.cli.flags import config_from
    from inceptionnext_jax.explain.sheet import contact_sheet

    config = config_from([f"--config={args.config}", *args.overrides])
    rows = augmented_rows(config, args.step, args.rows, args.columns)
    title = f"{args.config} on {config.data.name} from step {args.step} on"
    sheet = contact_sheet(title, _recipe(config), rows)
    save_picture(sheet, target)
    print(f"wrote {args.to}: {len(rows)} rows of {len(rows[0].images)} images")
    return 0


@dataclass(frozen=True)
class _Group:
    """Consecutive images of a step's batch, positions first .. first + size - 1."""

    step: int
    index: int
    size: int

    @property
    def first(self) -> int:
        return self.index * self.size


def augmented_rows(config: "ConfigDict", step: int, rows: int, columns: int) -> "list[Row]":
    """Up to `columns` images of each of `rows` mixing groups, from `step` (1: the first) on.

    Everything is what main.py uses, but whole groups instead of whole batches are loaded and
    augmented: positions in the global batch decide every draw, so the pixels are the same.

    Raises UserError for what is wrong with the config or the data.
    """
    from inceptionnext_jax import models
    from inceptionnext_jax.augment.recipe import AugmentSettings
    from inceptionnext_jax.cli import job
    from inceptionnext_jax.tasks.check import check
    from inceptionnext_jax.tasks.classification import build
    from inceptionnext_jax.train import validate

    config = config.copy_and_resolve_references()
    # What a step sees does not depend on these, so a pod's config can be looked at on a laptop.
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
    # Images that are not mixed need no partners: any few will do.
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


def _row(group: _Group, count: int, pixels: "np.ndarray", weights: "list[Weights]") -> "Row":
    from inceptionnext_jax.explain.sheet import Row

    last = group.first + group.size - 1
    where = f"positions {group.first}–{group.first + count - 1}"
    of = f" of group {group.first}–{last}" if count < group.size else ""
    return Row(f"step {group.step} · {where}{of}", pixels, weights)


def _pixels(images: "np.ndarray", mean: tuple, std: tuple) -> "np.ndarray":
    """Normalised images back to uint8, clipped."""
    import numpy as np

    values = (images.astype(np.float64) * std + mean) * 255
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _weights(target: "np.ndarray", smoothing: float, class_names: tuple[str, ...]) -> "Weights":
    """The labels of a target and their shares, without what label smoothing gives to each."""
    import numpy as np

    shares = (target.astype(np.float64) - smoothing / len(target)) / (1 - smoothing)
    order = [int(k) for k in np.argsort(-shares, kind="stable")[:_LABELS] if shares[k] > _SMALLEST]
    names = [class_names[k] if k < len(class_names) else str(k) for k in order]
    return [(name, float(shares[k])) for name, k in zip(names, order, strict=True)]


def _recipe(config: "ConfigDict") -> list[str]:
    """What was done to the images, in words and in order."""
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
