"""Checks of the config's `model` section, in sentences that name its keys."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section, is_count
from inceptionnext_jax.errors import UserError, first_line, suggestion
from inceptionnext_jax.models.layers import remat
from inceptionnext_jax.models.registry import (
    OUTPUT_STRIDES,
    create_model,
    list_models,
    system_names,
)
from inceptionnext_jax.ops import depthwise


def check_model(
    model: ConfigDict,
    image_size: int | None,
    head: ConfigDict | None = None,
    kinds: Sequence[str] = (),
) -> list[str]:
    """Returns all that is wrong with the section: one sentence each.

    `create_model` judges the settings that are None by default, and all of them together, when
    nothing else is wrong. It makes no array.

    Args:
      model: The section.
      image_size: Pixels on a side; None, where this is wrong itself, leaves `create_model` out.
      head: The config's `head` section, of options that only systems have.
      kinds: Kinds of systems, such as "upernet", of which the model must be one; none for a
        classifier.
    """
    section = Section(model, "model")
    _check_name(section, model.name, kinds)
    section.count("num_classes", least=1, below=2**24, optional=True)
    section.fraction("drop_path_rate", one=False)
    section.fraction("dropout_rate", one=False)
    section.count("bn_group_size")
    section.choice("remat", remat.CHOICES)
    section.flag("scan")
    section.choice("depthwise_impl", ("auto", *sorted(depthwise.IMPLEMENTATIONS)))
    section.choice("output_stride", OUTPUT_STRIDES)
    if "head_init_scale" in model:
        section.number("head_init_scale", above=0)
    depths = model.stage_depths
    if depths is not None and not _are_depths(depths):
        section.fail("stage_depths", "must be positive whole numbers")
    if section.problems or image_size is None:
        return section.problems
    options = tuple(system_options(model, head).items())
    own = tuple(head or ())
    try:
        return list(_refusals(model.name, options, own, image_size))
    except TypeError:  # a value that cannot be hashed
        return list(_refusals.__wrapped__(model.name, options, own, image_size))


def system_options(model: ConfigDict, head: ConfigDict | None = None) -> dict[str, Any]:
    """Returns the options of `create_model` in the sections `model` and `head`.

    Keys of `head` that are None leave a system its own value.
    """
    options = {key: model[key] for key in model if key != "name"}
    if head is not None:
        options |= {key: head[key] for key in head if head[key] is not None}
    return options


def _check_name(section: Section, name: object, kinds: Sequence[str]) -> None:
    section.text("name")
    if not section.is_set("name"):
        return
    known = [n for n in system_names() if n.startswith(tuple(f"{kind}_" for kind in kinds))]
    if not kinds:
        known = list_models()
    if name not in known:
        hint = suggestion(str(name), known)
        if f"{[*kinds, ''][0]}_{name}" in known:
            named = " or ".join(f"{kind}_{name}" for kind in kinds)
            hint = f"; it is a classifier, and this task takes {named}"
        section.fail("name", f"is not a known model{hint}")


def _are_depths(depths: object) -> bool:
    return (
        isinstance(depths, tuple | list)
        and len(depths) > 0
        and all(is_count(depth, 1) and depth < 1000 for depth in depths)
    )


@functools.lru_cache(maxsize=8)  # tracing a large model takes a second
def _refusals(
    name: str, options: tuple[tuple[str, Any], ...], head: tuple[str, ...], size: int
) -> tuple[str, ...]:
    """Returns the reason why `create_model` or the model refuses its settings, if there is one."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    try:
        model = create_model(name, **{**dict(options), "num_classes": 2})
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    except UserError as error:
        text = str(error)
        if text.startswith("model option "):
            text = text.removeprefix("model option ").lstrip("'")
            return (f"{'head' if text.startswith(head) else 'model'}.{text}",)
        return (f"model: {text}",)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return (f"model.name={name!r} cannot be built for {size} pixels ({first_line(error)})",)
    return ()
