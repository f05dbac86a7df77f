"""Models by name: their list, their construction, and the facts published about them."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.counts import read_counts
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layers.heads import HEADS
from inceptionnext_jax.models.layers.norm import NORMS
from inceptionnext_jax.models.layers.remat import CHOICES as REMAT_CHOICES
from inceptionnext_jax.models.layers.token_mixers import TOKEN_MIXERS
from inceptionnext_jax.ops.depthwise import check_impl

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A model's published facts, its exact sizes, and what its family has in common.

    Sizes are those with 1,000 classes, for one image of `input_size`. They are None for a model
    from outside the package that does not give them.

    Attributes:
      name: As in `create_model`.
      input_size: Pixels, height and width, that the published numbers hold for.
      stage_depths: Blocks per stage.
      family: Facts for conversion, layer-wise learning rates and schedules.
      params: Number of parameters.
      macs: Multiply-accumulates of convolutions and linear layers; products of queries, keys and
        values are left out.
      activations: Numbers that convolutions, linear layers and attention's products put out.
      macs_of_attention: Multiply-accumulates of queries, keys and values.
      deploy_params: Parameters of the deployed form where it is another network (VanillaNet, of
        which papers print these); None where it is not.
      deploy_macs: Multiply-accumulates of the same.
      crop_pct: Evaluation resizes the short side to floor(input_size / crop_pct) before the crop.
      interpolation: Filter of that resize.
      mean: Channel means, on a scale of 0 to 1.
      std: Channel standard deviations, on the same scale.
      top1: Reported accuracy on ImageNet-1K, a fraction; not measured here. None if there is none.
      top1_source: Its source.
      weights_url: The authors' file.
      hub_id: The Hugging Face repository.
      licence: Licence of the weights.
    """

    name: str
    input_size: int
    stage_depths: tuple[int, ...]
    family: Family = dataclasses.field(default_factory=Family, repr=False)
    params: int | None = None
    macs: int | None = None
    activations: int | None = None
    macs_of_attention: int | None = None
    deploy_params: int | None = None
    deploy_macs: int | None = None
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    top1: float | None = None
    top1_source: str = ""
    weights_url: str = ""
    hub_id: str = ""
    licence: str = ""


# The options of all models and their defaults; None stands for the named model's own value.
OPTIONS: Mapping[str, Any] = {
    "num_classes": 1000,
    "drop_path_rate": 0.0,
    "dropout_rate": 0.0,
    "bn_group_size": 0,
    "remat": False,
    "scan": False,
    "depthwise_impl": "auto",
    "stage_depths": None,
    "output_stride": 32,
    "head_init_scale": 1.0,
    "token_mixer": None,
    "kernel_size": None,
    "mixer_ratio": None,
    "norm": None,
    "head": None,
    "layer_scale_init": None,
    "width": None,
    "act_num": None,
    "dtype": jnp.float32,
}
# Ignored by networks without the layers concerned.
_IGNORED_WITHOUT_EFFECT = ("bn_group_size", "depthwise_impl")
OUTPUT_STRIDES = (8, 16, 32)
DTYPES = ("float32", "bfloat16", "float64")

_MODELS: dict[str, tuple[ModelInfo, Callable[..., nn.Module]]] = {}
_COUNTS = read_counts()


def register_model(info: ModelInfo, factory: Callable[..., nn.Module]) -> None:
    """Adds a model to the table.

    Args:
      info: Its facts, under a name that is not taken; sizes in counts.csv are filled in.
      factory: Called with `stage_depths` and those options of `OPTIONS`, checked, that are set and
        that it has parameters for.

    Raises:
      ValueError: The name is taken.
    """
    if info.name in _MODELS:
        raise ValueError(f"model {info.name!r} is registered twice")
    if info.name in _COUNTS:
        info = dataclasses.replace(info, **_COUNTS[info.name]._asdict())
    _MODELS[info.name] = (info, factory)


def create_model(name: str, **options: Any) -> nn.Module:
    """Makes a Linen module: `init(key, x)`, `apply(variables, x, train=False)`.

    Args:
      name: One of `list_models()`.
      **options: Keys of `OPTIONS`, which are those of the config's `model` section, with
        `stage_depths` for a shallower or deeper net of the same kind (None: the model's own) and
        `dtype` for the computation (`DTYPES`, or the JAX types of these names). Options such as
        `MetaNeXt`'s token_mixer, norm and head, or `VanillaNet`'s width and act_num, change one
        thing of a named model.

    Raises:
      UserError: A name, option or value is not allowed.
    """
    info, factory = _entry(name)
    for option in options:
        if option not in OPTIONS:
            raise UserError(
                f"model option {option!r} is unknown, expected one of {', '.join(sorted(OPTIONS))}"
                f"{suggestion(option, OPTIONS)}"
            )
    checked = _checked({**OPTIONS, **options}, info.stage_depths)
    given = {option: value for option, value in checked.items() if value is not None}
    parameters = inspect.signature(factory).parameters
    for option in given.keys() - parameters.keys():
        if given.pop(option) != OPTIONS[option] and option not in _IGNORED_WITHOUT_EFFECT:
            raise UserError(f"model {name} has no option {option}; leave it out")
    return factory(**given)


def list_models(pattern: str | None = None) -> list[str]:
    """Returns the sorted names, all or those that match a glob such as "inceptionnext*"."""
    return sorted(name for name in _MODELS if fnmatch.fnmatchcase(name, pattern or "*"))


def model_info(name: str) -> ModelInfo:
    """Returns the facts about a model; raises UserError for an unknown name."""
    return _entry(name)[0]


def _entry(name: str) -> tuple[ModelInfo, Callable[..., nn.Module]]:
    if name not in _MODELS:
        near = suggestion(str(name), _MODELS)
        raise UserError(f"model {name!r} is unknown{near or '; see list_models()'}")
    return _MODELS[name]


def _checked(options: dict[str, Any], default_depths: tuple[int, ...]) -> dict[str, Any]:
    """Returns the options in their final types, or raises UserError for the first bad value."""
    _require(options, "num_classes", _is_integer(options["num_classes"], 1), "an integer ≥ 1")
    _require(options, "bn_group_size", _is_integer(options["bn_group_size"], 0), "an integer ≥ 0")
    for name in ("drop_path_rate", "dropout_rate"):
        _require(options, name, _is_rate(options[name]), "a number in [0, 1)")
    _require(options, "scan", isinstance(options["scan"], bool), "True or False")
    remat = options["remat"]
    choices = ", ".join(map(str, REMAT_CHOICES))
    near = suggestion(str(remat), map(str, REMAT_CHOICES))
    _require(options, "remat", remat in REMAT_CHOICES, f"one of {choices}{near}")
    check_impl(options["depthwise_impl"])
    strides = ", ".join(map(str, OUTPUT_STRIDES))
    _require(
        options, "output_stride", options["output_stride"] in OUTPUT_STRIDES, f"one of {strides}"
    )
    scale = options["head_init_scale"]
    _require(options, "head_init_scale", is_number(scale) and scale > 0, "a number > 0")
    _check_structure(options)
    depths = default_depths
    if options["stage_depths"] is not None:
        depths = options["stage_depths"]
        listed = isinstance(depths, Sequence) and len(depths) == len(default_depths)
        valid = listed and all(_is_integer(depth, 1) for depth in depths)
        expected = f"as many integers ≥ 1 as the model has stages ({len(default_depths)}), or None"
        _require(options, "stage_depths", valid, expected)
    return {
        **options,
        "stage_depths": tuple(depths),
        "dtype": _checked_dtype(options["dtype"]),
    }


def _check_structure(options: dict[str, Any]) -> None:
    """Checks the settings of `MetaNeXt` and `VanillaNet` that are not None."""
    given = {option for option, value in options.items() if value is not None}
    for option, choices in {"token_mixer": TOKEN_MIXERS, "norm": NORMS, "head": HEADS}.items():
        value = options[option]
        if option in given and (not isinstance(value, str) or value not in choices):
            raise UserError(
                f"model option {option}={value!r} is unknown, expected one of "
                f"{', '.join(sorted(choices))}{suggestion(str(value), choices)}"
            )
    if "kernel_size" in given:
        size = options["kernel_size"]
        _require(options, "kernel_size", _is_integer(size, 1) and size % 2 == 1, "an odd integer")
    if "mixer_ratio" in given:
        ratio = options["mixer_ratio"]
        _require(options, "mixer_ratio", is_number(ratio) and 0 < ratio <= 1, "a number in (0, 1]")
    if "layer_scale_init" in given:
        first = options["layer_scale_init"]
        valid = is_number(first) and first >= 0
        _require(options, "layer_scale_init", valid, "a number ≥ 0 (0: no layer scale)")
    if "width" in given:
        width = options["width"]
        _require(options, "width", is_number(width) and width > 0, "a number > 0")
    if "act_num" in given:
        _require(options, "act_num", _is_integer(options["act_num"], 0), "an integer ≥ 0")


def _checked_dtype(dtype: Any) -> jnp.dtype:
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        near = suggestion(name, DTYPES)
        raise UserError(f"model dtype is {name!r}, expected one of {', '.join(DTYPES)}{near}")
    if name == "float64" and jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
        raise UserError(
            "model dtype is float64 but JAX has it switched off; "
            'call jax.config.update("jax_enable_x64", True) first, or use float32'
        )
    return jnp.dtype(name)


def _require(options: dict[str, Any], name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"model option {name}={options[name]!r} is not allowed, give {expected}")


def _is_integer(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_rate(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1
