"""Checks of classification's config keys: data, augmentation, loss, and the network's."""

from ml_collections import ConfigDict

from inceptionnext_jax.augment.rand_augment import parse_rand_augment
from inceptionnext_jax.checks import Section, is_count, missing_sections
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.groups import check_group, group_size
from inceptionnext_jax.models.check import check_model
from inceptionnext_jax.tasks.classification.losses import LOSSES
from inceptionnext_jax.tasks.shared_checks import LARGEST_SIDE, data_section

FILTERS = ("bicubic", "bilinear")  # of a resize
ORDERS = ("inceptionnext", "convnext")


def check(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the task's own keys and the model: one sentence each."""
    if missing := missing_sections(config, ("data", "augment", "loss")):
        return missing
    data = _check_data(config.data)
    image_size = config.data.image_size if data.is_set("image_size") else None
    return [
        *data.problems,
        *_check_augment(config),
        *_check_loss(config.loss),
        *check_model(config.model, image_size),
    ]


def _check_data(data: ConfigDict) -> Section:
    section = data_section(data)
    section.count("image_size", least=1, below=LARGEST_SIDE)
    section.choice("interpolation", FILTERS)
    section.fraction("crop_pct", above=0, optional=True)
    return section


def _check_augment(config: ConfigDict) -> list[str]:
    augment = config.augment
    section = Section(augment, "augment")
    section.pair("scale")
    if section.is_set("scale") and augment.scale[1] > 1:
        section.fail("scale", "must not exceed 1: it is a share of the area")
    section.pair("ratio")
    section.choice("interpolation", ("random", *FILTERS))
    section.choice("order", ORDERS)
    section.text("rand_augment")
    if section.is_set("rand_augment"):
        try:
            parse_rand_augment(augment.rand_augment)
        except UserError as error:
            section.add("rand_augment", str(error))
    for key in ("hflip", "mix_prob", "mix_switch_prob", "random_erasing"):
        section.fraction(key)
    for key in ("mixup", "cutmix", "color_jitter"):
        section.number(key, at_least=0)
    section.count("erasing_count", least=1, below=2**10)
    section.count("mix_group_size")
    if section.is_set("mixup", "cutmix", "mix_group_size") and augment.mixup + augment.cutmix > 0:
        section.add("mix_group_size", *_check_mixing(config))
    return section.problems


def _check_mixing(config: ConfigDict) -> list[str]:
    """Checks that whole mixing groups of pairs lie within the micro-batches."""
    key, requested = "augment.mix_group_size", config.augment.mix_group_size
    batch, accumulate = config.batch_size, config.optim.accumulate
    if not is_count(batch, 1) or not is_count(accumulate, 1) or batch % accumulate:
        return []  # reported with the batch
    found = check_group(key, requested, batch, accumulate)
    group = group_size(requested, batch)
    if group % 2:
        found.append(
            f"{key}={group} is odd: images are mixed in pairs; try {group - 1 or 2} or {group + 1}"
        )
    return found


def _check_loss(loss: ConfigDict) -> list[str]:
    section = Section(loss, "loss")
    section.choice("name", LOSSES)
    section.fraction("label_smoothing", one=False)
    return section.problems
