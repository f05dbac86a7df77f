"""Checks of keys that several tasks have, in the sections `data` and `eval`."""

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_count, is_number

LARGEST_SIDE = 2**14  # pixels


def data_section(data: ConfigDict) -> Section:
    """Returns the checks of a `data` section, those of the shared keys made."""
    section = Section(data, "data")
    section.text("name")
    section.text("dir", optional=True)
    section.text("train_split")
    section.text("eval_split")
    section.count("workers", below=2**10, optional=True)
    section.fraction("max_bad")
    section.flag("cache")
    return section


def check_resize(section: Section, data: ConfigDict) -> None:
    """Checks `data.resize` of dense tasks, (longest long side, longest short side) in pixels."""
    section.sequence("resize")
    if section.is_set("resize") and not (len(data.resize) == 2 and all(map(is_side, data.resize))):
        section.fail("resize", "must be two whole numbers > 0: longest long side, short side")


def is_side(value: object) -> bool:
    """Returns whether a value is a side of images in pixels."""
    return is_count(value, 1) and value < LARGEST_SIDE  # type: ignore[operator]


def check_views(section: Section, evaluation: ConfigDict) -> None:
    """Checks `eval.scales` and `eval.flip` of dense tasks."""
    section.flag("flip")
    section.sequence("scales")
    if section.is_set("scales"):
        scales = evaluation.scales
        if not all(is_number(s) and 0 < s <= 8 for s in scales) or 1 not in scales:
            section.fail("scales", "must be numbers in (0, 8], and 1 among them")
        elif len(set(scales)) < len(scales):
            section.fail("scales", "must differ")


def check_metric_of_views(config: ConfigDict) -> list[str]:
    """Returns a sentence where checkpoint.best_metric needs more views than there are."""
    metric, evaluation = config.checkpoint.best_metric, config.eval
    if not metric.endswith("_ms") or evaluation.flip or len(evaluation.scales) > 1:
        return []
    return [
        f"checkpoint.best_metric={metric} is measured with several views only; set eval.scales or "
        f"eval.flip, or take {metric.removesuffix('_ms')}"
    ]


def check_num_classes(config: ConfigDict, classes: int) -> list[str]:
    """Returns a sentence where `model.num_classes` is not the number of classes in the data."""
    if config.model.num_classes in (None, classes):
        return []
    return [
        f"model.num_classes={config.model.num_classes}, but data.name={config.data.name!r} has "
        f"{classes} classes; leave it unset"
    ]
