"""Conversion of variables from and to PyTorch state dicts, checked as a whole.

Every missing, unexpected, misshapen or non-float array is collected and reported in one error, so
that nobody meets them one run at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from inceptionnext_jax.convert.tables import Leaf, Rule, family, locate
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import create_model
from inceptionnext_jax.models.stacking import unstack_blocks

# What PyTorch's BatchNorm keeps besides its statistics; momentum makes it meaningless here.
_COUNTER = "num_batches_tracked"
# What follows from a network's sizes: counted, and in older files of Swin the pairs of positions.
_DERIVED = (_COUNTER, "relative_position_index", "attn_mask")

Path = tuple[str, ...]


def from_torch(
    name: str,
    state_dict: Mapping[str, Any],
    num_classes: int | None = None,
    deployed: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Converts a PyTorch state dict in the authors' or timm's names, whichever it has.

    Args:
      name: Of the model, as in `create_model`.
      state_dict: Arrays, or PyTorch tensors, of any float type.
      num_classes: Expected number; None takes it from the classifier.
      deployed: The arrays are of the deployed form, `create_model(name).clone(is_deployed=True)`.
      **options: Of `create_model`, such as `stage_depths`, where the net is not the named one.

    Returns:
      {"params": …, "batch_stats": …} of float32 numpy arrays, unstacked.

    Raises:
      UserError: Arrays are missing, left over, of another shape or no floats: all are named.
    """
    arrays = {key: _as_numpy(value) for key, value in state_dict.items()}
    known = family(name, deployed)
    if num_classes is None:
        biases = (arrays.get(locate(table, known.classifier[1:])[0]) for table in known.namings)
        num_classes = _length(next((bias for bias in biases if bias is not None), None))
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
    derived = {key for key in arrays if key.rpartition(".")[2] in _DERIVED}
    for key in sorted(arrays.keys() - used - derived):
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
      name: Of the model, as in `create_model`.
      variables: {"params": …, "batch_stats": …}, plain or of a scanned model.
      layout: Whose names to write: "timm" or, the authors', "official".
      deployed: The variables are of the deployed form.
      **options: Of `create_model`, such as `stage_depths`, where the net is not the named one.

    Returns:
      float32 numpy arrays by PyTorch name, and an int64 zero for each BatchNorm's counter.

    Raises:
      UserError: Arrays are missing, left over, of another shape or no floats: all are named. Or
        PyTorch's names have no place for a value (the slope of a VanillaNet in training).
    """
    known = family(name, deployed)
    table = known.naming(layout)
    flat = traverse_util.flatten_dict(unstack_blocks(variables))
    arrays = {path: _as_numpy(value) for path, value in flat.items()}
    num_classes = _length(arrays.get(known.classifier))
    template = _template(name, num_classes, options, deployed)
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
    """One array that does not fit: its name, what is wrong, and what was found and expected."""

    name: str
    kind: str
    found: str
    expected: str

    def __str__(self) -> str:
        if self.kind == "misshapen":
            return f"{self.name} {self.found} instead of {self.expected}"
        return f"{self.name} {self.found}" if self.kind == "not floats" else self.name


class MismatchError(UserError):
    """Arrays do not fit a model; `problems` has each of them."""

    def __init__(self, message: str, problems: Sequence[Problem]):
        super().__init__(message)
        self.problems = problems

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Names by what is wrong with them."""
        return _by_kind(self.problems)


KINDS = ("missing", "unexpected", "misshapen", "not floats")


def _by_kind(problems: Sequence[Problem]) -> dict[str, list[str]]:
    kinds = {kind: [str(p) for p in problems if p.kind == kind] for kind in KINDS}
    return {kind: names for kind, names in kinds.items() if names}


class Problems:
    """What is wrong with a set of arrays."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def check(self, key: str, array: np.ndarray | None, shape: tuple[int, ...]) -> bool:
        """Returns whether an array can be used, and notes why not."""
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
        """Notes an array that the model has no place for."""
        self._found.append(Problem(key, "unexpected", str(array.shape), "none"))

    def report(self, summary: str) -> None:
        """Raises one error with all problems if there are any."""
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
                f"{'/'.join(path)} is {arrays[path]:g}, and PyTorch's names have no place for it: "
                f"they mean {value:g}; convert weights that have that"
            )


def _template(
    name: str, num_classes: int, options: Mapping[str, Any], deployed: bool
) -> dict[Path, jax.ShapeDtypeStruct]:
    """Returns path -> shape of every array that the model has."""
    model = create_model(name, **{**options, "num_classes": num_classes})
    return _shapes(model.clone(is_deployed=True) if deployed else model)


def _shapes(model: nn.Module) -> dict[Path, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), image))


def _coverage(
    table: tuple[Rule, ...],
    template: Mapping[Path, jax.ShapeDtypeStruct],
    arrays: Mapping[str, Any],
) -> int:
    """Returns how many of the model's arrays are there, by name and rank, if `table` names them."""
    places = ((locate(table, path[1:]), expected) for path, expected in template.items())
    return sum(
        key in arrays and arrays[key].ndim == len(_torch_shape(leaf, expected))
        for (key, leaf), expected in places
    )


def _torch_shape(leaf: Leaf, ours: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    return leaf.to_torch(np.broadcast_to(np.False_, ours.shape)).shape


def _as_numpy(value: Any) -> np.ndarray:
    """Converts arrays and, without importing PyTorch, its tensors."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which numpy does not know
            value = value.float()
    return np.asarray(value)


def _length(bias: np.ndarray | None, default: int = 1000) -> int:
    """Returns the number of classes, or the default if the classifier cannot tell."""
    return bias.shape[0] if bias is not None and bias.size and bias.ndim == 1 else default
