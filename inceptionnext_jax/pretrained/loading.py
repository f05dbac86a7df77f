"""A trained network from any source, with its preprocessing and class names."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from inceptionnext_jax.checkpoints import reading
from inceptionnext_jax.checkpoints.evaluation import read_evaluation
from inceptionnext_jax.convert.files import check_finite
from inceptionnext_jax.convert.hub import PREFIX
from inceptionnext_jax.convert.load import Location, Say, locate_source, read_file
from inceptionnext_jax.convert.torch_weights import check_variables
from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.registry import (
    list_models,
    model_info,
    option_defaults,
    shown_options,
    system_names,
)
from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.config_json import read_config
from inceptionnext_jax.pretrained.preprocessing import preprocessing_of
from inceptionnext_jax.trees import paths_and_leaves
from inceptionnext_jax.types import Variables
from inceptionnext_jax.workdir.storage import StoragePath

# Options of `create_model` that do not change a network's arrays.
_WITHOUT_ARRAYS = (
    "num_classes", "drop_path_rate", "dropout_rate", "bn_group_size", "remat", "scan",
    "depthwise_impl", "head_init_scale", "dtype",
)  # fmt: skip
ENTRIES = ("ema", "params")  # weights in a run's checkpoint; the first that exist are taken
_DEEPEST = 1000  # blocks in a stage; more is a damaged file


def load_model(
    source: str | Path, name: str | None = None, **options: Any
) -> tuple[nn.Module, Variables]:
    """Returns (model, variables) of trained weights; `load_pretrained` returns the rest too.

    Arguments and errors are `load_pretrained`'s.
    """
    loaded = load_pretrained(source, name, **options)
    return loaded.model, loaded.variables


def load_pretrained(
    source: str | Path,
    name: str | None = None,
    *,
    key: str | None = None,
    sha256: str | None = None,
    say: Say = lambda text: None,
    **options: Any,
) -> Pretrained:
    """Loads weights with their preprocessing and class names, onto the host.

    Args:
      source: A folder of `save_pretrained`, of timm's or of transformers', a workdir or a step in
        it, a weight file, a URL, a hub id (hf://owner/name), or a model's name for its published
        weights.
      name: Name of the model, if the source does not name it (a bare weight file).
      key: Entry of a .pth that holds the weights; for a run's step "ema" or "params" (None: the
        averages where there are some).
      sha256: Expected checksum of a URL's file.
      say: Called with a note of what was chosen or fetched.
      **options: Options of `create_model`, over those that the source names.

    Raises:
      UserError: There are no such weights, they are damaged or do not fit the model.
    """
    if str(source) in (*list_models(), *system_names()) and not Path(source).exists():
        name, source = str(source), _published(str(source), name)
    found = locate_source(source, say, sha256)
    if found.is_step:
        loaded = _from_step(found.path, name, key, options, say)
    else:
        loaded = _from_file(found, str(source), name, key, options, say)
    leaves = paths_and_leaves(loaded.variables)
    shapes = {tuple(path.split("/")): tuple(leaf.shape) for path, leaf in leaves}
    shown = shown_options(loaded.name, shapes.get)
    loaded = dataclasses.replace(loaded, options={**shown, **loaded.options})
    check_variables(loaded.model, loaded.variables, f"{source} does not fit {loaded.name}")
    check_finite({path: np.asarray(leaf, np.float32) for path, leaf in leaves}, source)
    return loaded


def _published(source: str, name: str | None) -> str:
    if name not in (None, source):
        raise UserError(f"{source} is a model and cannot be the weights of {name}; leave one out")
    info = model_info(source)
    if not info.hub_id and not info.weights_url:
        raise UserError(f"{source} has no published weights; give a workdir or a weight file")
    return f"hf://{info.hub_id}" if info.hub_id else info.weights_url


def _chosen_name(given: str | None, known: str | None, source: Any) -> str:
    if given is None and known is None:
        raise UserError(
            f"{source} does not say which model its weights are of; name it (--model NAME, or "
            f"name=… in Python)"
        )
    return str(given or known)


def _structure(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the options that determine a network's arrays; raises UserError for absurd ones."""
    depths = options.get("stage_depths") or ()
    if isinstance(depths, list | tuple) and any(
        isinstance(depth, int) and depth > _DEEPEST for depth in depths
    ):
        raise UserError(f"{where} asks for stage_depths={tuple(depths)}; {_DEEPEST} are the most")
    return {name: value for name, value in options.items() if name not in _WITHOUT_ARRAYS}


def _from_file(
    found: Location,
    source: str,
    name: str | None,
    key: str | None,
    options: Mapping[str, Any],
    say: Say,
) -> Pretrained:
    """Loads a weight file, as the config beside it describes it."""
    known = read_config(found.config) if found.config else {}
    chosen = _chosen_name(name, known.pop("name", None), source)
    options = {**known.pop("options", {}), **options}
    variables = read_file(found.path, chosen, _structure(options, source), say, key)
    loaded, info = Pretrained(chosen, variables, options, **known), model_info(chosen)
    is_published = bool(info.hub_id) and source.removeprefix(PREFIX) == info.hub_id
    if not loaded.licence and (is_published or not found.config):
        loaded = dataclasses.replace(loaded, licence=info.licence)
    return loaded


def _from_step(
    step: StoragePath, name: str | None, key: str | None, options: Mapping[str, Any], say: Say
) -> Pretrained:
    """Loads a run's step, as its `meta` describes it."""
    if key not in (None, *ENTRIES):
        raise UserError(
            f"{step} has no weights {key!r}, expected one of {', '.join(ENTRIES)}"
            f"{suggestion(str(key), ENTRIES)}"
        )
    variables, averages, meta = reading.read_step(step)
    if key == "ema" and averages is None:
        raise UserError(f"{step} holds no averages; leave the key out")
    if averages is not None and key is None:
        say(f"{step}: taking the averaged weights")
    trained = {**_section(meta, "model"), **_section(meta, "head")}
    chosen = _chosen_name(name, trained.get("name"), step)
    known = option_defaults(chosen)
    recorded = {
        option: value
        for option, value in trained.items()
        if option in known and option not in _WITHOUT_ARRAYS and value not in (None, known[option])
    }
    _structure(recorded, str(step))
    given = meta.get("preprocessing", {})
    return Pretrained(
        chosen,
        variables if averages is None or key == "params" else averages,
        {**recorded, **options},
        preprocessing_of(model_info(chosen), given if isinstance(given, dict) else {}),
        meta.get("class_names") or (),
        metrics=_measured(step),
        palette=meta.get("palette") or (),
    )


def _section(meta: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns a section of the run's config, {} where there is none."""
    config = meta.get("config", {})
    section = config.get(name, {}) if isinstance(config, dict) else {}
    return section if isinstance(section, dict) else {}


def _measured(step: StoragePath) -> dict[str, float]:
    """Returns the run's metrics at a step, if it evaluated there."""
    evaluation = read_evaluation(step)
    return evaluation.scores if evaluation else {}
