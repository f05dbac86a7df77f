"""Conversion of variables from and to PyTorch state dicts, checked as a whole.

Every missing, unexpected, misshapen or non-float array is collected and reported in one error,
rather than one per run.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.family import Family, Path
from inceptionnext_jax.models.names import Leaf, Table
from inceptionnext_jax.models.registry import create_model, shown_options
from inceptionnext_jax.models.stacking import unstack_blocks

# Kept by PyTorch's BatchNorm besides its statistics; meaningless with a momentum.
_COUNTER = "num_batches_tracked"
# Arrays that networks do not need: the counter; in older files of Swin, pairs of positions; what
# masked images had in pre-training.
_NEEDLESS = (_COUNTER, "relative_position_index", "attn_mask", "mask_token")


def from_torch(
    name: str,
    state_dict: Mapping[str, Any],
    num_classes: int | None = None,
    deployed: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Converts a PyTorch state dict in any of the names known of the model, whichever it has.

    Args:
      name: Name of the model, as in `create_model`.
      state_dict: Arrays, or PyTorch tensors, of any float type.
      num_classes: Expected number; None takes it from the classifier.
      deployed: Whether the arrays are of the deployed form, a model with `is_deployed=True`.
      **options: Options of `create_model`, such as `stage_depths`, that the net was made with.
        Those of a dense system that its arrays show need not be given (`shown_options`).

    Returns:
      {"params": …} and, where the model has them, "batch_stats" and "host", of float32 numpy
      arrays, unstacked.

    Raises:
      UserError: Arrays are missing, left over, of another shape or not floats: all are named.
    """
    arrays = {key: _as_numpy(value) for key, value in state_dict.items()}
    known = family(name, deployed)
    if other := next((known.others[key] for key in known.others if key in arrays), None):
        raise UserError(
            f"the state dict is of {other}; {name} is another network, take weights of that one"
        )
    if num_classes is None:
        biases = (arrays.get(locate(table, known.classifier[1:])[0]) for table in known.namings)
        num_classes = _num_classes(known, next((bias for bias in biases if bias is not None), None))
    options = {**_shown_options(name, known.namings, arrays), **options}
    template, leaves = _template(name, num_classes, options, deployed), {}
    for path, value in known.implied.items():
        leaves[path] = np.full(template.pop(path).shape, value, np.float32)
    table = max(known.namings, key=lambda naming: _coverage(naming, template, arrays))
    problems, used = Problems(), set()
    for path, expected in template.items():
        key, leaf = locate(table, path[1:])
        used.add(key)
        if problems.check(key, arrays.get(key), _torch_shape(leaf, expected)):
            leaves[path] = np.array(leaf.from_torch(arrays[key]), np.float32, order="C")
    needless = {key for key in arrays if key.rpartition(".")[2] in _NEEDLESS}
    for key in sorted(arrays.keys() - used - needless):
        problems.unexpected(key, arrays[key])
    problems.report(f"the state dict does not fit {name} with {num_classes} classes")
    return traverse_util.unflatten_dict(leaves)


def to_torch(
    name: str,
    variables: Mapping[str, Any],
    layout: str = "timm",
    deployed: bool = False,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Converts variables to a state dict that PyTorch's models load strictly.

    Args:
      name: Name of the model, as in `create_model`.
      variables: The model's collections, plain or of a scanned model.
      layout: Names to write: "timm" or, for the authors', "official"; those of segmentation also
        have "mmseg" and, with ConvNeXt, "mmpretrain" (mmsegmentation 1.x) and "huggingface";
        detectors have "mmdet" and "mmpretrain".
      deployed: Whether the variables are of the deployed form.
      **options: Options of `create_model`, such as `stage_depths`, that the net was made with.

    Returns:
      float32 numpy arrays by PyTorch name, and an int64 zero for each BatchNorm's counter.

    Raises:
      UserError: Arrays are missing, left over, of another shape or not floats: all are named. Or a
        value has no name in PyTorch (the slope of a VanillaNet in training).
    """
    known = family(name, deployed)
    table = known.naming(layout)
    flat = traverse_util.flatten_dict(unstack_blocks(variables))
    arrays = {path: _as_numpy(value) for path, value in flat.items()}
    num_classes = _num_classes(known, arrays.get(known.classifier))
    shown = shown_options(name, lambda path: np.shape(arrays[path]) if path in arrays else None)
    template = _template(name, num_classes, {**shown, **options}, deployed)
    _check_implied(known.implied, arrays)
    problems, state_dict = Problems(), {}
    for path, expected in template.items():
        if path in known.implied:
            continue
        key, leaf = locate(table, path[1:])
        if problems.check("/".join(path), arrays.get(path), expected.shape):
            state_dict[key] = np.array(leaf.to_torch(arrays[path]), np.float32, order="C")
        if path[-1] == "var":
            state_dict[f"{key.rpartition('.')[0]}.{_COUNTER}"] = np.zeros((), np.int64)
    for path in sorted(arrays.keys() - template.keys()):
        problems.unexpected("/".join(path), arrays[path])
    problems.report(f"the variables do not fit {name} with {num_classes} classes")
    return state_dict


class Problem(NamedTuple):
    """One array that does not fit: its name, one of `KINDS`, what was found and expected."""

    name: str
    kind: str
    found: str
    expected: str

    def __str__(self) -> str:
        if self.kind == "misshapen":
            return f"{self.name} {self.found} instead of {self.expected}"
        return f"{self.name} {self.found}" if self.kind == "not floats" else self.name


class MismatchError(UserError):
    """Arrays that do not fit a model; `problems` lists them."""

    def __init__(self, message: str, problems: Sequence[Problem]):
        super().__init__(message)
        self.problems = problems

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Names of the arrays by kind of problem."""
        return _by_kind(self.problems)


KINDS = ("missing", "unexpected", "misshapen", "not floats")


def _by_kind(problems: Sequence[Problem]) -> dict[str, list[str]]:
    kinds = {kind: [str(p) for p in problems if p.kind == kind] for kind in KINDS}
    return {kind: names for kind, names in kinds.items() if names}


class Problems:
    """The problems of a set of arrays."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def check(self, key: str, array: np.ndarray | None, shape: tuple[int, ...]) -> bool:
        """Returns whether an array can be used, and notes the problem if not."""
        if array is None:
            self._found.append(Problem(key, "missing", "none", str(shape)))
        elif array.shape != shape:
            self._found.append(Problem(key, "misshapen", str(array.shape), str(shape)))
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            self._found.append(Problem(key, "not floats", str(array.dtype), str(shape)))
        else:
            return True
        return False

    def unexpected(self, key: str, array: np.ndarray) -> None:
        """Notes an array that the model does not have."""
        self._found.append(Problem(key, "unexpected", str(array.shape), "none"))

    def report(self, summary: str) -> None:
        """Raises one error with all problems, if there are any."""
        if self._found:
            kinds = _by_kind(self._found).items()
            listed = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds]
            raise MismatchError(f"{summary}; {'; '.join(listed)}", self._found)


def check_variables(model: nn.Module, variables: Mapping[str, Any], summary: str) -> None:
    """Raises MismatchError, beginning with `summary`, unless the arrays are the model's."""
    arrays = {p: _as_numpy(v) for p, v in traverse_util.flatten_dict(dict(variables)).items()}
    template, problems = _shapes(model), Problems()
    for path, expected in template.items():
        problems.check("/".join(path), arrays.get(path), expected.shape)
    for path in sorted(arrays.keys() - template.keys()):
        problems.unexpected("/".join(path), arrays[path])
    problems.report(summary)


def _check_implied(implied: Mapping[Path, float], arrays: Mapping[Path, np.ndarray]) -> None:
    for path, value in implied.items():
        if path in arrays and np.any(arrays[path] != value):
            raise UserError(
                f"{'/'.join(path)} is {arrays[path]:g}, which PyTorch's names cannot hold: "
                f"they mean {value:g}; convert weights with that value"
            )


def _template(
    name: str, num_classes: int, options: Mapping[str, Any], deployed: bool
) -> dict[Path, jax.ShapeDtypeStruct]:
    """Returns {path: shape} of every array of the model."""
    model = create_model(name, **{**options, "num_classes": num_classes})
    return _shapes(model.clone(is_deployed=True) if deployed else model)


def _shapes(model: nn.Module) -> dict[Path, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), image))


def _shown_options(
    name: str, tables: Sequence[Table], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns the options of a dense system that arrays in the names of one of the tables show."""

    def shape_of(path: Path) -> tuple[int, ...] | None:
        for table in tables:
            key, leaf = locate(table, path[1:])
            if key in arrays:
                return _our_shape(leaf, arrays[key])
        return None

    return shown_options(name, shape_of)


def _coverage(
    table: Table,
    template: Mapping[Path, jax.ShapeDtypeStruct],
    arrays: Mapping[str, Any],
) -> int:
    """Returns how many of the model's arrays a table finds, by name and rank."""
    located = ((locate(table, path[1:]), expected) for path, expected in template.items())
    return sum(
        key in arrays and arrays[key].ndim == len(_torch_shape(leaf, expected))
        for (key, leaf), expected in located
    )


def _torch_shape(leaf: Leaf, ours: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    return leaf.to_torch(np.broadcast_to(np.False_, ours.shape)).shape


def _our_shape(leaf: Leaf, theirs: np.ndarray) -> tuple[int, ...] | None:
    try:
        return leaf.from_torch(theirs).shape
    except (IndexError, ValueError):  # another rank; the mismatch is reported later
        return None


def _as_numpy(value: Any) -> np.ndarray:
    """Converts arrays and, without importing PyTorch, its tensors."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # unknown to numpy
            value = value.float()
    return np.asarray(value)


def _num_classes(known: Family, bias: np.ndarray | None, default: int = 1000) -> int:
    """Returns the number of classes, or the default without a valid classifier."""
    if bias is None or not bias.size or bias.ndim != 1:
        return default
    return bias.shape[0] // known.per_class
