"""The state that a run begins with: resumed, from given weights, or fresh."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from inceptionnext_jax import trees
from inceptionnext_jax.checkpoints import reading
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.convert.load import Say, summary
from inceptionnext_jax.convert.run_weights import load_start
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.stacking import stack_blocks, unstack_blocks
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.state import TrainState, create_state, weights_of
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.types import PyTree, Variables

NO_STEP = 2**31 - 1  # the steps' keys are folded with their numbers; no step has this one
WIDTH = 100  # characters of a line
# First parts of a classifier network's own names; surplus weights that begin so are of another
# architecture.
_NETWORK = ("stem", "stages_")


def init_key(seed: int) -> jax.Array:
    """The key of a run's initial weights."""
    return jax.random.fold_in(jax.random.key(seed), NO_STEP)


class InitialState:
    """Makes states of one shape, each array where the mesh wants it."""

    def __init__(
        self, task: Task, mesh: Mesh, tx: optax.GradientTransformation, *, seed: int, ema: bool
    ):
        self._task, self._key = task, init_key(seed)
        self._create: Callable[..., TrainState] = lambda variables: create_state(variables, tx, ema)
        fresh = lambda key: self._create(task.init(key))  # noqa: E731
        shapes = jax.eval_shape(fresh, self._key)
        self.shardings = meshes.state_shardings(mesh, shapes)
        # Each parameter's random numbers are a program of their own to a CPU's compiler, which
        # would optimise for longer than they run.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        self._fresh = jax.jit(fresh, out_shardings=self.shardings, compiler_options=quick)
        self.abstract: TrainState = meshes.with_shardings(shapes, self.shardings)

    def fresh(self) -> TrainState:
        """Initialised on the devices, in one compiled call."""
        return self._fresh(self._key)

    def resumed(self, checkpoints: Checkpoints, step: int) -> TrainState:
        return checkpoints.restore(step, self.abstract)

    def from_weights(self, source: str, model: ConfigDict, say: Say) -> TrainState:
        """Fresh but for the weights at `source`, as `run_weights.load_start` takes them.

        A head that was trained for other classes than the task's is pointed out.
        Raises UserError when the weights are of another architecture.
        """
        variables, meta = load_start(source, model.name, model.stage_depths, say)
        wanted = jax.eval_shape(unstack_blocks, self.abstract.weights())
        given = below(self._task.body, variables)
        found = match(
            wanted, given, source, self._task.renewable, self._task.body, _trained_as(meta)
        )
        for note in found.notes(source):
            say(note)
        difference = self._task.difference(meta)
        if difference and not found.renewed:
            say(f"note: the head was loaded although its {difference.text}")
        merged = self._merged_into_fresh(found.loaded)
        return jax.jit(self._create, out_shardings=self.shardings)(merged)

    def _merged_into_fresh(self, loaded: dict[str, np.ndarray]) -> Variables:
        """Fresh variables, but for those in `loaded`, by path in the plain tree."""
        abstract, fresh = self.abstract.weights(), self.fresh().weights()
        given = dict(trees.paths_and_leaves(with_layout_of(abstract, trees.nested(loaded))))
        leaves = [
            _on_mesh(given[path], want) if path in given else own
            for (path, want), own in zip(
                trees.paths_and_leaves(abstract), jax.tree.leaves(fresh), strict=True
            )
        ]
        return jax.tree.unflatten(jax.tree.structure(fresh), leaves)


def abstract_weights(task: Task, mesh: Mesh, seed: int) -> Variables:
    """Shapes, dtypes and shardings of a task's variables."""
    shapes = weights_of(jax.eval_shape(task.init, init_key(seed)))
    return meshes.with_shardings(shapes, meshes.state_shardings(mesh, shapes))


def put_on_mesh(variables: Variables, abstract: Variables, source: str) -> Variables:
    """Puts plain host variables onto the layout and shardings of `abstract`.

    Raises UserError, naming `source` and the parameters, unless every one fits.
    """
    fitted = with_layout_of(abstract, variables)
    given = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in trees.paths_and_leaves(fitted)
    }
    reading.check_fits(given, abstract, source)
    return jax.tree.map(_on_mesh, fitted, abstract)


def with_layout_of(reference: PyTree, variables: Variables) -> Variables:
    """Stacks the blocks of plain variables where those of `reference` are stacked."""
    stacked = any("/blocks/" in path for path in trees.paths(reference))
    return stack_blocks(variables) if stacked else variables


def _on_mesh(leaf: Any, want: jax.ShapeDtypeStruct) -> jax.Array:
    """Puts one host array onto the sharding of `want`, whose shape it has."""
    return jax.make_array_from_callback(
        want.shape, want.sharding, lambda index: np.asarray(leaf)[index]
    )


def below(body: str, variables: Variables) -> Variables:
    """A classifier's variables under the names that they have in a task whose `body` they are.

    Variables that already have those names pass through.
    """
    names = [path.split("/", 1)[1] for path in trees.paths(variables)]
    if not body or any(name.startswith(body) for name in names):
        return variables
    moved = {}
    for path, leaf in trees.paths_and_leaves(variables):
        collection, name = path.split("/", 1)
        moved[f"{collection}/{body}{name}"] = leaf
    return trees.nested(moved)


def _trained_as(meta: dict[str, Any]) -> str:
    """A checkpoint's model, as the end of a message; "" for a bare file."""
    if "config" not in meta:
        return ""
    model = meta["config"]["model"]
    depths = model.get("stage_depths")
    return f"; it was trained with model.name={model['name']}" + (
        f" and model.stage_depths={tuple(depths)}" if depths else ""
    )


class Match(NamedTuple):
    """Given weights sorted by their use for a model.

    Attributes:
      loaded: Arrays by path, in the model's dtypes.
      renewed: The model's other paths with the reason; they stay as initialised.
      unused: Given paths that the model has does not have.
    """

    loaded: dict[str, np.ndarray]
    renewed: dict[str, str]
    unused: list[str]

    def notes(self, where: str) -> list[str]:
        """Every array on some line: loaded ones counted by module, the others by name."""
        total = len(self.loaded) + len(self.renewed)
        modules = Counter("/".join(path.split("/")[:2]) for path in self.loaded)
        counted = [f"{module} ({count})" for module, count in modules.items()]
        renewed = [f"{path} ({why})" for path, why in self.renewed.items()]
        notes = _wrapped(f"init_from={where}: {len(self.loaded)} of {total} arrays loaded", counted)
        notes += _wrapped(f"re-initialised ({len(renewed)})", renewed) if renewed else []
        notes += _wrapped(f"unused ({len(self.unused)})", self.unused) if self.unused else []
        return notes


def match(
    wanted: PyTree,
    given: PyTree,
    source: str,
    renewable: tuple[str, ...],
    body: str = "",
    hint: str = "",
) -> Match:
    """Compares the variables of a model, as arrays or shapes, with given arrays; both unstacked.

    renewable, body: as in `Task`.
    Leaves below a renewable prefix may be missing or of another shape: they are re-initialised.
    Given arrays outside of the network itself may be left over. Any other difference is a
    UserError that names `source` and the paths, and ends in `hint`.
    """
    left = dict(trees.paths_and_leaves(given))
    loaded: dict[str, np.ndarray] = {}
    renewed: dict[str, str] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    for path, leaf in trees.paths_and_leaves(wanted):
        array = left.pop(path, None)
        if array is not None and tuple(array.shape) == tuple(leaf.shape):
            loaded[path] = np.asarray(array).astype(leaf.dtype)
        elif path.split("/", 1)[1].startswith(renewable):
            found = "missing" if array is None else str(list(array.shape))
            renewed[path] = f"{found}, expected {list(leaf.shape)}"
        elif array is None:
            missing.append(path)
        else:
            misshapen.append(f"{path} is {list(array.shape)}, expected {list(leaf.shape)}")
    network = tuple(f"{body}{name}" for name in _NETWORK)
    surplus = sorted(path for path in left if path.split("/", 1)[1].startswith(network))
    kinds = {"missing": missing, "too many": surplus, "of another shape": misshapen}
    if any(kinds.values()):
        raise UserError(f"init_from={source} does not fit the model: {summary(kinds)}{hint}")
    return Match(loaded, renewed, sorted(left))


def _wrapped(head: str, names: Sequence[str]) -> list[str]:
    """Lines of whole names, up to WIDTH characters where a name is not longer."""
    lines = [f"{head}:"]
    for index, name in enumerate(names):
        item = f"{name}," if index < len(names) - 1 else name
        if len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(f"    {item}")
        else:
            lines[-1] += f" {item}"
    return lines
