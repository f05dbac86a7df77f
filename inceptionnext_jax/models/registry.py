"""Models by name: their list, their construction, and the facts published about them."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from inceptionnext_jax.checks import is_number
from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.models.counts import SYSTEMS_FILE, read_counts
from inceptionnext_jax.models.family import Family, Path
from inceptionnext_jax.models.layers.heads import HEADS
from inceptionnext_jax.models.layers.norm import NORMS
from inceptionnext_jax.models.layers.remat import CHOICES as REMAT_CHOICES
from inceptionnext_jax.models.layers.token_mixers import TOKEN_MIXERS
from inceptionnext_jax.models.reported import Report
from inceptionnext_jax.ops.depthwise import check_impl

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PYRAMID = (4, 8, 16, 32)  # strides of the maps that dense systems are made for


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A model's published facts, its exact sizes, and what its family has in common.

    Sizes are those with 1,000 classes, for one image of `input_size`; those of a dense system have
    its own number of classes and are `counted_at` another size. They are None for a model from
    outside the package that does not give them.

    Attributes:
      name: As in `create_model`.
      input_size: Pixels, height and width, that the published numbers hold for.
      stage_depths: Blocks per stage.
      task: The value of config.task that trains it.
      family: Facts for conversion, layer-wise learning rates and schedules.
      feature_strides: Strides of the maps that `features` returns; dense systems need `PYRAMID`.
      counted_at: Height and width of the image that sizes hold for; None is `input_size`.
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
      other_reports: Accuracies that the papers report for the same network with other weights, some
        of them at another size.
      weights_url: The authors' file.
      hub_id: The Hugging Face repository.
      licence: Licence of the weights.
    """

    name: str
    input_size: int
    stage_depths: tuple[int, ...]
    task: str = "classification"
    family: Family = dataclasses.field(default_factory=Family, repr=False)
    feature_strides: tuple[int, ...] = ()
    counted_at: tuple[int, int] | None = None
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
    other_reports: tuple[Report, ...] = ()
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

# Options of a classifier that has no use in a system; the rest are those of its backbone.
_OF_CLASSIFIERS = ("head", "head_init_scale")

# The shape of the array at a path, or None where there is none.
ShapeOf = Callable[[Path], tuple[int, ...] | None]

_MODELS: dict[str, tuple[ModelInfo, Callable[..., nn.Module]]] = {}
_COUNTS = read_counts()


class System(Protocol):
    """A kind of network that is made of a backbone: `<kind>_<backbone>`.

    Attributes:
      options: Its options and their defaults; those of the backbone have other names, or are
        shared with it (bn_group_size).
    """

    options: Mapping[str, Any]

    def create(self, backbone: nn.Module, family: Family, options: Mapping[str, Any]) -> nn.Module:
        """Returns the network; raises UserError for a value that is not allowed."""

    def describe(self, name: str, backbone: ModelInfo) -> ModelInfo:
        """Returns the facts of the system `name` with this backbone."""

    def shown_options(self, family: Family, shape_of: "ShapeOf") -> dict[str, Any]:
        """Returns those of its options that its arrays show; `family` is the backbone's."""


_SYSTEMS: dict[str, System] = {}
_SYSTEM_COUNTS = read_counts(SYSTEMS_FILE)


def register_system(kind: str, system: System) -> None:
    """Adds a kind of system, for every backbone; raises ValueError if the name is taken."""
    if kind in _SYSTEMS:
        raise ValueError(f"system {kind!r} is registered twice")
    _SYSTEMS[kind] = system


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
      name: One of `list_models()`, or a system with one of these as backbone, such as
        "upernet_convnext_tiny", whose options are its own (`option_defaults`) and the backbone's.
      **options: Keys of `OPTIONS`, which are those of the config's `model` section, with
        `stage_depths` for a shallower or deeper net of the same kind (None: the model's own) and
        `dtype` for the computation (`DTYPES`, or the JAX types of these names). Options such as
        `MetaNeXt`'s token_mixer, norm and head, or `VanillaNet`'s width and act_num, change one
        thing of a named model.

    Raises:
      UserError: A name, option or value is not allowed.
    """
    known = option_defaults(name)
    for option in options:
        if option not in known:
            raise UserError(
                f"model option {option!r} is unknown, expected one of {', '.join(sorted(known))}"
                f"{suggestion(option, known)}"
            )
    if found := _system(name):
        return _create_system(*found, options)
    info, factory = _MODELS[name]
    checked = _checked({**OPTIONS, **options}, info.stage_depths)
    given = {option: value for option, value in checked.items() if value is not None}
    parameters = inspect.signature(factory).parameters
    for option in given.keys() - parameters.keys():
        if given.pop(option) != OPTIONS[option] and option not in _IGNORED_WITHOUT_EFFECT:
            raise UserError(f"model {name} has no option {option}; leave it out")
    return factory(**given)


def _create_system(system: System, backbone: str, given: dict[str, Any]) -> nn.Module:
    options = {option: given.get(option, default) for option, default in system.options.items()}
    shared = OPTIONS.keys() - (system.options.keys() - {"bn_group_size"})
    body = create_model(backbone, **{name: given[name] for name in given.keys() & shared})
    return system.create(body, model_info(backbone).family, options)


def option_defaults(name: str) -> Mapping[str, Any]:
    """Returns the options of a model and their defaults; raises UserError for an unknown name."""
    if found := _system(name):
        both = {**OPTIONS, **found[0].options}
        return {option: both[option] for option in both if option not in _OF_CLASSIFIERS}
    return OPTIONS


def shown_options(name: str, shape_of: ShapeOf) -> dict[str, Any]:
    """Returns the options of a model that its arrays show and that differ from the defaults.

    These are options of dense systems; raises UserError for an unknown name.
    """
    found = _system(name)
    if found is None:
        return {}
    system, backbone = found
    shown = system.shown_options(model_info(backbone).family, shape_of)
    return {option: value for option, value in shown.items() if value != system.options[option]}


def backbone_name(name: str) -> str:
    """Returns the name of a system's backbone, or that of a classifier itself.

    Raises UserError for an unknown name.
    """
    found = _system(name)
    return found[1] if found else name


def list_models(pattern: str | None = None) -> list[str]:
    """Returns the sorted names of classifiers, all or those that match a glob ("inceptionnext*").

    Where none matches, these are the names of the systems that do ("upernet_*").
    """
    found = [name for name in _MODELS if fnmatch.fnmatchcase(name, pattern or "*")]
    return sorted(found or fnmatch.filter(system_names(), pattern or "*"))


def system_names() -> list[str]:
    """Returns the sorted names of all systems with all backbones."""
    backbones = [name for name in _MODELS if _MODELS[name][0].feature_strides == PYRAMID]
    return sorted(f"{kind}_{name}" for kind in _SYSTEMS for name in backbones)


def model_info(name: str) -> ModelInfo:
    """Returns the facts about a model; raises UserError for an unknown name."""
    if not (found := _system(name)):
        return _MODELS[name][0]
    system, backbone = found
    info = system.describe(name, model_info(backbone))
    counts = _SYSTEM_COUNTS.get(name)
    return dataclasses.replace(info, **counts._asdict()) if counts else info


def _system(name: str) -> tuple[System, str] | None:
    """Returns the kind and the backbone of a system, or None for a classifier.

    Raises:
      UserError: There is no such model, or the backbone lacks maps that systems need.
    """
    if name in _MODELS:
        return None
    kind = next((kind for kind in _SYSTEMS if str(name).startswith(f"{kind}_")), None)
    if kind is not None:
        backbone = name.removeprefix(f"{kind}_")
        strides = _MODELS[backbone][0].feature_strides if backbone in _MODELS else PYRAMID
        if strides != PYRAMID:
            raise UserError(
                f"{kind} needs maps at strides {', '.join(map(str, PYRAMID))}, which {backbone} "
                f"does not have; choose one of list_models('{kind}_*')"
            )
        if backbone in _MODELS:
            return _SYSTEMS[kind], backbone
    near = suggestion(str(name), system_names() if kind else _MODELS)
    raise UserError(f"model {name!r} is unknown{near or '; see list_models()'}")


def _checked(options: dict[str, Any], default_depths: tuple[int, ...]) -> dict[str, Any]:
    """Returns the options in their final types, or raises UserError for the first bad value."""
    require_option(options, "num_classes", is_integer(options["num_classes"], 1), "an integer ≥ 1")
    require_option(
        options, "bn_group_size", is_integer(options["bn_group_size"], 0), "an integer ≥ 0"
    )
    for name in ("drop_path_rate", "dropout_rate"):
        require_option(options, name, is_rate(options[name]), "a number in [0, 1)")
    require_option(options, "scan", isinstance(options["scan"], bool), "True or False")
    remat = options["remat"]
    choices = ", ".join(map(str, REMAT_CHOICES))
    near = suggestion(str(remat), map(str, REMAT_CHOICES))
    require_option(options, "remat", remat in REMAT_CHOICES, f"one of {choices}{near}")
    check_impl(options["depthwise_impl"])
    strides = ", ".join(map(str, OUTPUT_STRIDES))
    require_option(
        options, "output_stride", options["output_stride"] in OUTPUT_STRIDES, f"one of {strides}"
    )
    scale = options["head_init_scale"]
    require_option(options, "head_init_scale", is_number(scale) and scale > 0, "a number > 0")
    _check_structure(options)
    depths = default_depths
    if options["stage_depths"] is not None:
        depths = options["stage_depths"]
        listed = isinstance(depths, Sequence) and len(depths) == len(default_depths)
        valid = listed and all(is_integer(depth, 1) for depth in depths)
        expected = f"as many integers ≥ 1 as the model has stages ({len(default_depths)}), or None"
        require_option(options, "stage_depths", valid, expected)
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
        require_option(
            options, "kernel_size", is_integer(size, 1) and size % 2 == 1, "an odd integer"
        )
    if "mixer_ratio" in given:
        ratio = options["mixer_ratio"]
        require_option(
            options, "mixer_ratio", is_number(ratio) and 0 < ratio <= 1, "a number in (0, 1]"
        )
    if "layer_scale_init" in given:
        first = options["layer_scale_init"]
        valid = is_number(first) and first >= 0
        require_option(options, "layer_scale_init", valid, "a number ≥ 0 (0: no layer scale)")
    if "width" in given:
        width = options["width"]
        require_option(options, "width", is_number(width) and width > 0, "a number > 0")
    if "act_num" in given:
        require_option(options, "act_num", is_integer(options["act_num"], 0), "an integer ≥ 0")


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


def require_option(options: Mapping[str, Any], name: str, holds: bool, expected: str) -> None:
    """Raises UserError with what is `expected` of an option unless the condition holds."""
    if not holds:
        raise UserError(f"model option {name}={options[name]!r} is not allowed, give {expected}")


def is_integer(value: Any, minimum: int) -> bool:
    """Returns whether a value is an integer of at least `minimum`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def is_rate(value: Any) -> bool:
    """Returns whether a value is a number in [0, 1)."""
    return is_number(value) and 0 <= value < 1
