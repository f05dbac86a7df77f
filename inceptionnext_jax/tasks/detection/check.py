"""Checks of detection's config keys: data, augmentation, loss, evaluation, and the network's."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, missing_sections
from inceptionnext_jax.models.check import check_model
from inceptionnext_jax.tasks.shared_checks import (
    LARGEST_SIDE,
    check_metric_of_views,
    check_resize,
    check_views,
    data_section,
    is_side,
)

KINDS = ("mask_rcnn", "cascade_mask_rcnn", "retinanet")
CANVAS_MULTIPLE = 32  # pixels; images are padded to such sides


def check(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the task's own keys and the model: one sentence each."""
    if missing := missing_sections(config, ("data", "augment", "loss", "head")):
        return missing
    data = _check_data(config.data)
    canvas = min(map(min, config.data.canvases)) if data.is_set("canvases") else None
    return [
        *data.problems,
        *_check_augment(config.augment),
        *_check_loss(config.loss),
        *_check_evaluation(config.eval),
        *_check_metric(config),
        *check_model(config.model, canvas, config.head, KINDS),
    ]


def has_masks(model_name: str) -> bool:
    """Whether a system finds masks, and learns from them."""
    return "mask_rcnn_" in model_name


def _check_data(data: ConfigDict) -> Section:
    section = data_section(data)
    section.text("train_json", optional=True)
    section.text("eval_json", optional=True)
    check_resize(section, data)
    section.sequence("canvases")
    if section.is_set("canvases") and not _are_canvases(data.canvases):
        section.fail(
            "canvases",
            f"must be pairs of height and width, multiples of {CANVAS_MULTIPLE} pixels, such as "
            "((800, 1344), (1344, 800)), none of them twice",
        )
    section.count("max_objects", least=1, below=2**12)
    section.count("mask_size", least=1, below=2**10)
    return section


def _are_pixels(values: Sequence[object], count: int | None = None) -> bool:
    """Whether a sequence holds so many sides in pixels, or at least one."""
    fits = len(values) == count if count else len(values) > 0
    return fits and all(map(is_side, values))


def _are_canvases(canvases: Sequence[object]) -> bool:
    pairs = [canvas for canvas in canvases if isinstance(canvas, tuple | list)]
    return (
        0 < len(pairs) == len(canvases) == len(set(map(tuple, pairs)))
        and all(_are_pixels(pair, 2) for pair in pairs)
        and all(side % CANVAS_MULTIPLE == 0 for pair in pairs for side in pair)
    )


def _check_augment(augment: ConfigDict) -> list[str]:
    section = Section(augment, "augment")
    for key in ("shorts", "crop_shorts"):
        section.sequence(key)
        if section.is_set(key) and not _are_pixels(augment[key]):
            section.fail(key, "must be whole numbers > 0, such as (640, 672, 704)")
    section.count("long", least=1, below=LARGEST_SIDE)
    section.fraction("hflip")
    section.fraction("crop_prob")
    section.pair("crop")
    if section.is_set("crop") and not _are_pixels(augment.crop, 2):
        section.fail("crop", "must be whole numbers")
    return section.problems


def _check_loss(loss: ConfigDict) -> list[str]:
    section = Section(loss, "loss")
    for key in ("rpn_weight", "cls_weight", "box_weight", "mask_weight"):
        section.number(key, at_least=0)
    return section.problems


def _check_evaluation(evaluation: ConfigDict) -> list[str]:
    section = Section(evaluation, "eval")
    check_views(section, evaluation)
    return section.problems


def _check_metric(config: ConfigDict) -> list[str]:
    """Sentences on a metric that this network or evaluation does not have."""
    metric = config.checkpoint.best_metric
    if not isinstance(metric, str) or not isinstance(config.model.name, str):
        return []
    name = metric.rpartition("/")[2]
    if name.startswith("mask_") and not has_masks(config.model.name):
        return [
            f"checkpoint.best_metric={metric} is of masks, and model.name={config.model.name!r} "
            "finds none; take box_ap"
        ]
    return check_metric_of_views(config)
