"""Configs of transformers' networks: UperNet with a ConvNeXt as backbone."""

from collections.abc import Mapping, Sequence
from typing import Any

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.models.registry import create_model, list_models, model_info
from inceptionnext_jax.pretrained.preprocessing import AnyPreprocessing, preprocessing_of

ARCHITECTURE = "UperNetForSemanticSegmentation"
# Values that our networks are made with; arrays do not show others.
_HEADS = {"pool_scales": [1, 2, 3, 6], "auxiliary_concat_input": False}
_BACKBONE = {"model_type": "convnext", "hidden_act": "gelu", "num_channels": 3, "patch_size": 4}


def is_upernet(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of transformers' UperNet."""
    architectures = config.get("architectures")
    return isinstance(architectures, list) and ARCHITECTURE in architectures


def upernet_fields(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of `Pretrained` from transformers' config and its image processor's.

    Raises:
      ValueError: The network or its preprocessing is not one that this library has.
    """
    backbone = config.get("backbone_config")
    if not isinstance(backbone, Mapping):
        raise ValueError("its backbone_config is not a JSON object")
    _require(config, _HEADS, "")
    _require(backbone, _BACKBONE, "backbone_config.")
    name, depths = _backbone(backbone)
    own = model_info(name).stage_depths
    return {
        "name": f"upernet_{name}",
        "options": {} if depths == own else {"stage_depths": depths},
        "preprocessing": _preprocessing(model_info(f"upernet_{name}"), preprocessor),
        "class_names": _class_names(config.get("id2label")),
    }


def _require(given: Mapping[str, Any], expected: Mapping[str, Any], prefix: str) -> None:
    for key, value in expected.items():
        if given.get(key, value) != value:
            raise ValueError(f"its {prefix}{key} is {given[key]!r}, expected {value!r}")


def _backbone(config: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """Returns the model of these widths, of these depths if there is one, and the depths."""
    widths = _integers(config, "hidden_sizes", (96, 192, 384, 768))
    depths = _integers(config, "depths", (3, 3, 9, 3))
    # Those with one underscore are the paper's; others are variants of these.
    models = [name for name in list_models("convnext_*") if name.count("_") == 1]
    fitting = [name for name in models if tuple(create_model(name).stage_dims) == widths]
    if not fitting:
        raise ValueError(f"its backbone_config.hidden_sizes {list(widths)} are no ConvNeXt's")
    exact = [name for name in fitting if model_info(name).stage_depths == depths]
    shallow = sorted(fitting, key=lambda name: sum(model_info(name).stage_depths))
    return (exact or shallow)[0], depths


def _integers(config: Mapping[str, Any], key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = config.get(key, default)
    if not isinstance(found, list | tuple) or not all(type(number) is int for number in found):
        raise ValueError(f"its backbone_config.{key} {found!r} are not whole numbers")
    return tuple(found)


def _class_names(labels: Any) -> Sequence[str]:
    """Returns the names of {"0": name, …}, or none if there are only transformers' own."""
    if labels is None:
        return ()
    if not isinstance(labels, Mapping) or set(labels) != {str(i) for i in range(len(labels))}:
        raise ValueError("its id2label does not name the classes 0, 1, …")
    names = [labels[str(index)] for index in range(len(labels))]
    return () if names == [f"LABEL_{index}" for index in range(len(names))] else names


def _preprocessing(info: Any, given: Mapping[str, Any]) -> AnyPreprocessing:
    fields: dict[str, Any] = {}
    if given.get("do_normalize") is False:
        fields = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    elif "image_mean" in given and "image_std" in given:
        fields = {"mean": given["image_mean"], "std": given["image_std"]}
    scale = given.get("rescale_factor", 1 / 255)
    if given.get("do_rescale") is False or not is_number(scale) or abs(255 * scale - 1) > 1e-3:
        raise ValueError("its image processor does not divide pixels by 255")
    size = given.get("size")
    if isinstance(size, Mapping):  # {"height", "width"}, or {"shortest_edge"}
        size = min(size.values()) if all(map(is_number, size.values())) and size else size
    if size is not None:
        fields["image_size"] = size
    return preprocessing_of(info, fields)
