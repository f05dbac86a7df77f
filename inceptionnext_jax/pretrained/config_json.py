"""Folders with `model.safetensors` and `config.json`, as timm and the Hugging Face hub have them.

The config that is written has timm's keys, so that timm loads the folder (`local-dir:`), and one of
our own, "inceptionnext_jax", with the fields that timm lacks. Configs of transformers are read.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inceptionnext_jax.convert.hub import CONFIG, PREPROCESSOR, WEIGHTS
from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.convert.timm_names import our_name, timm_name
from inceptionnext_jax.convert.torch_weights import to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.files import replaced, write_atomically
from inceptionnext_jax.models.registry import model_info, option_defaults
from inceptionnext_jax.pretrained.bundle import Pretrained
from inceptionnext_jax.pretrained.hugging_face import is_upernet, upernet_fields
from inceptionnext_jax.pretrained.preprocessing import AnyPreprocessing, preprocessing_of

_OWN = "inceptionnext_jax"
_LARGEST = 1 << 24  # bytes of a config.json


def save_pretrained(directory: str | Path, pretrained: Pretrained) -> Path:
    """Writes a folder that `load_model` and timm read; returns its path.

    Existing files of these names are replaced, each as a whole; others stay.

    Raises:
      UserError: The variables do not fit the model, or the folder cannot be written.
    """
    folder = Path(directory).expanduser()
    state_dict = to_torch(pretrained.name, pretrained.variables, **pretrained.options)
    image_convs = (key for key, a in state_dict.items() if a.ndim == 4 and a.shape[1] == 3)
    config = _config(pretrained, next(image_convs, "").removesuffix(".weight"))
    text = json.dumps(config, indent=1, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_safetensors(folder / WEIGHTS[0], state_dict)
        write_atomically(folder / CONFIG, text + "\n")
    except OSError as error:
        raise UserError(f"{directory} cannot be written ({error.strerror or error})") from error
    return folder


def save_safetensors(path: Path, state_dict: Mapping[str, Any]) -> None:
    """Writes arrays by PyTorch name, completely or not at all."""
    from safetensors.numpy import save

    with replaced(path) as temporary:
        temporary.write_bytes(save(dict(state_dict), {"format": "pt"}))


def _config(pretrained: Pretrained, first_conv: str) -> dict[str, Any]:
    known, before = family(pretrained.name), pretrained.preprocessing
    table, size = known.naming("timm"), before.image_size
    options = {name: value for name, value in pretrained.options.items() if name != "dtype"}
    depths = options.get("stage_depths")
    classifier, _ = locate(table, known.classifier[1:])
    return {
        "architecture": timm_name(pretrained.name),
        "num_classes": pretrained.num_classes,
        **({"label_names": list(pretrained.class_names)} if pretrained.class_names else {}),
        **({"model_args": {"depths": list(depths)}} if depths else {}),
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": False,
            **before.fields(),
            "num_classes": pretrained.num_classes,
            "first_conv": first_conv,
            "classifier": classifier.removesuffix(".bias"),
            "license": pretrained.licence,
        },
        _OWN: {
            "model": pretrained.name,
            "options": options,
            "licence": pretrained.licence,
            "metrics": dict(pretrained.metrics),
            **({"palette": list(map(list, pretrained.palette))} if pretrained.palette else {}),
        },
    }


def read_config(path: Path) -> dict[str, Any]:
    """Returns the arguments of `Pretrained`, except the variables, from a config.json.

    One of transformers' is completed by the config of its image processor beside it.

    Raises:
      UserError: The file is not such a config, or its model is unknown.
    """
    config = _read_json(path)
    with _naming(path):
        if not is_upernet(config):
            return _fields(config)
    beside = path.parent / PREPROCESSOR
    preprocessor = _read_json(beside) if beside.is_file() else {}
    with _naming(path):
        return upernet_fields(config, preprocessor)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raises UserError, naming the file, for any fault in it."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise UserError(f"{path} is not a readable model config ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    with _naming(path):
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is not a JSON object")
        return config


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads timm's keys and ours."""
    own, timm = _mapping(config, _OWN), _mapping(config, "pretrained_cfg")
    architecture = config.get("architecture") or config.get("architectures")
    name = own.get("model") or our_name(str(architecture), timm.get("input_size") or ())
    if name is None:
        raise ValueError(f"its architecture {architecture!r} is unknown")
    info = model_info(str(name))
    options = _mapping(own, "options")
    unknown = sorted(options.keys() - option_defaults(info.name).keys())
    if unknown:
        raise ValueError(f"its model has the unknown option {unknown[0]!r}")
    depths = _mapping(config, "model_args").get("depths")
    if depths is not None:
        options.setdefault("stage_depths", depths)
    labels = config.get("label_names") or timm.get("label_names") or ()
    if not isinstance(labels, list | tuple):
        raise ValueError("its label_names are not a list")
    return {
        "name": info.name,
        "options": options,
        "preprocessing": _preprocessing(info, timm),
        "class_names": labels,
        "palette": own.get("palette") or (),
        "licence": str(own.get("licence") or timm.get("license") or ""),
        "metrics": {str(k): float(v) for k, v in _mapping(own, "metrics").items()},
    }


def _mapping(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Returns a sub-object, or {} if it is absent; raises ValueError for anything else."""
    value = parent.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"its {key} is not a JSON object")
    return dict(value or {})


def _preprocessing(info: Any, timm: Mapping[str, Any]) -> AnyPreprocessing:
    given = {k: v for k, v in timm.items() if v is not None}
    if "input_size" in given:
        size = given["input_size"]
        if not isinstance(size, list | tuple) or len(size) != 3 or size[1] != size[2]:
            raise ValueError(f"its input_size {size!r} is not [3, S, S]")
        given["image_size"] = size[1]
    return preprocessing_of(info, given)
