"""Checks of segmentation's config keys: data, augmentation, loss, evaluation, and the network's."""

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_count, is_number, missing_sections
from inceptionnext_jax.data.views import METHODS
from inceptionnext_jax.models.check import check_model
from inceptionnext_jax.tasks.segmentation.losses import NORMALIZERS
from inceptionnext_jax.tasks.shared_checks import (
    LARGEST_SIDE,
    check_resize,
    check_views,
    data_section,
)

KINDS = ("upernet", "semantic_fpn")


def check(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the task's own keys and the model: one sentence each."""
    if missing := missing_sections(config, ("data", "augment", "loss", "head")):
        return missing
    data = _check_data(config.data)
    image_size = config.data.image_size if data.is_set("image_size") else None
    return [
        *data.problems,
        *_check_augment(config.augment),
        *_check_loss(config.loss),
        *_check_evaluation(config),
        *check_model(config.model, image_size, config.head, KINDS),
    ]


def _check_data(data: ConfigDict) -> Section:
    section = data_section(data)
    section.count("image_size", least=1, below=LARGEST_SIDE)
    check_resize(section, data)
    section.count("ignore_index", below=2**16, optional=True)
    section.flag("reduce_zero_label")
    return section


def _check_augment(augment: ConfigDict) -> list[str]:
    section = Section(augment, "augment")
    section.pair("ratio")
    section.fraction("cat_max_ratio", above=0)
    section.fraction("hflip")
    section.flag("photometric")
    return section.problems


def _check_loss(loss: ConfigDict) -> list[str]:
    section = Section(loss, "loss")
    section.choice("normalizer", NORMALIZERS)
    section.number("aux_weight", at_least=0)
    section.sequence("class_weights")
    if section.is_set("class_weights") and not all(
        is_number(weight) and weight >= 0 for weight in loss.class_weights
    ):
        section.fail("class_weights", "must be numbers >= 0, one for each class, or ()")
    section.fraction("ohem_threshold", above=0, optional=True)
    section.count("ohem_min_kept", least=1)
    return section.problems


def _check_evaluation(config: ConfigDict) -> list[str]:
    section = Section(config.eval, "eval")
    section.choice("method", METHODS)
    section.count("crop", least=1, below=2**14, optional=True)
    section.count("stride", least=1, optional=True)
    section.count("multiple", least=1, below=2**10)
    check_views(section, config.eval)
    crop = config.eval.crop or config.data.image_size
    if section.is_set("stride") and is_count(crop, 1) and config.eval.stride > crop:
        section.fail("stride", f"must not exceed eval.crop={crop}: windows would leave gaps")
    return section.problems
