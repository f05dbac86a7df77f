"""Checks of the config's `model` section, in sentences that name its keys."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_count
from inceptionnext_jax.errors import UserError, first_line, suggestion
from inceptionnext_jax.models.layers import remat
from inceptionnext_jax.models.registry import OUTPUT_STRIDES, create_model, list_models
from inceptionnext_jax.ops import depthwise


def check_model(model: ConfigDict, image_size: int | None) -> list[str]:
    """Returns all that is wrong with the section: one sentence each.

    `create_model` judges the settings that are None by default, and all of them together, when
    nothing else is wrong. It makes no array.

    image_size: Pixels on a side; None, where this is wrong itself, leaves `create_model` out.
    """
    section = Section(model, "model")
    _check_name(section, model.name)
    section.count("num_classes", least=1, below=2**24, optional=True)
    section.fraction("drop_path_rate", one=False)
    section.fraction("dropout_rate", one=False)
    section.count("bn_group_size")
    section.choice("remat", remat.CHOICES)
    section.flag("scan")
    section.choice("depthwise_impl", ("auto", *sorted(depthwise.IMPLEMENTATIONS)))
    section.choice("output_stride", OUTPUT_STRIDES)
    section.number("head_init_scale", above=0)
    depths = model.stage_depths
    if depths is not None and not _are_depths(depths):
        section.fail("stage_depths", "must be positive whole numbers")
    if section.problems or image_size is None:
        return section.problems
    options = tuple((key, model[key]) for key in model if key != "name")
    try:
        return list(_refusals(model.name, options, image_size))
    except TypeError:  # a value that cannot be hashed
        return list(_refusals.__wrapped__(model.name, options, image_size))


def _check_name(section: Section, name: object) -> None:
    section.text("name")
    if section.is_set("name") and name not in list_models():
        section.fail("name", f"is not a known model{suggestion(str(name), list_models())}")


def _are_depths(depths: object) -> bool:
    return (
        isinstance(depths, tuple | list)
        and len(depths) > 0
        and all(is_count(depth, 1) and depth < 1000 for depth in depths)
    )


@functools.lru_cache(maxsize=8)  # tracing a large model takes a second
def _refusals(name: str, options: tuple[tuple[str, Any], ...], size: int) -> tuple[str, ...]:
    """Returns the reason why `create_model` or the model refuses its settings, if there is one."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    try:
        model = create_model(name, **{**dict(options), "num_classes": 2})
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    except UserError as error:
        text = str(error)
        if text.startswith("model option "):
            return (f"model.{text.removeprefix('model option ')}",)
        return (f"model: {text}",)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return (f"model.name={name!r} cannot be built for {size} pixels ({first_line(error)})",)
    return ()
