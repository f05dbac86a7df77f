"""The state that a run begins with: resumed, from given weights, or fresh."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from inceptionnext_jax import trees
from inceptionnext_jax.checkpoints.manager import Checkpoints
from inceptionnext_jax.convert.load import Say, load_weights
from inceptionnext_jax.models.stacking import unstack_blocks
from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.init_from import match, other_classes
from inceptionnext_jax.train.state import TrainState, create_state
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.train.weights import on_mesh, with_layout_of
from inceptionnext_jax.trees import nested

NO_STEP = 2**31 - 1  # the steps' keys are folded with their numbers; no step has this one


def init_key(seed: int) -> jax.Array:
    """The key of a run's initial weights."""
    return jax.random.fold_in(jax.random.key(seed), NO_STEP)


class Start:
    """Makes states of one shape, each array where the mesh wants it."""

    def __init__(
        self, task: Task, mesh: Mesh, tx: optax.GradientTransformation, *, seed: int, ema: bool
    ):
        self._key = init_key(seed)
        self._create = lambda variables: create_state(variables, tx, ema)
        self._fresh = lambda key: self._create(task.init(key))
        shapes = jax.eval_shape(self._fresh, self._key)
        self.shardings = meshes.state_shardings(mesh, shapes)
        # Each parameter's random numbers are a program of their own to a CPU's compiler, which
        # would optimise for longer than they run.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        self._init = jax.jit(self._fresh, out_shardings=self.shardings, compiler_options=quick)
        self.abstract: TrainState = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            self.shardings,
        )

    def fresh(self) -> TrainState:
        """Initialised on the devices, in one compiled call."""
        return self._init(self._key)

    def resumed(self, checkpoints: Checkpoints, step: int) -> TrainState:
        return checkpoints.restore(step, self.abstract)

    def from_weights(
        self, source: str, model: ConfigDict, say: Say, class_names: Sequence[str] = ()
    ) -> TrainState:
        """Fresh but for the weights at `source` (its averages where it has them).

        class_names: of the run's data; a head that was trained for others is pointed out.
        Raises UserError when the weights are of another architecture.
        """
        variables, averages, meta = load_weights(source, model.name, model.stage_depths, say)
        if averages is not None:
            say(f"init_from={source}: taking the averaged weights")
        wanted = jax.eval_shape(unstack_blocks, self.abstract.weights())
        found = match(wanted, averages or variables, source, _trained_as(meta))
        for note in found.notes(source):
            say(note)
        differing = other_classes(class_names, meta.get("class_names", ()))
        if differing and not found.renewed:
            say(f"note: the head was loaded although its {differing}")
        merged = self._placed_over_fresh(found.loaded)
        return jax.jit(self._create, out_shardings=self.shardings)(merged)

    def _placed_over_fresh(self, loaded: dict[str, np.ndarray]) -> Any:
        """Fresh variables, with `loaded` (by path in the plain tree) in their places."""
        abstract, fresh = self.abstract.weights(), self.fresh().weights()
        given = dict(trees.paths_and_leaves(with_layout_of(abstract, nested(loaded))))
        placed = [
            on_mesh(given[path], want) if path in given else own
            for (path, want), own in zip(
                trees.paths_and_leaves(abstract), jax.tree.leaves(fresh), strict=True
            )
        ]
        return jax.tree.unflatten(jax.tree.structure(fresh), placed)


def _trained_as(meta: dict[str, Any]) -> str:
    """What a checkpoint says of its model, as the end of a message; "" for a bare file."""
    if "config" not in meta:
        return ""
    model = meta["config"]["model"]
    depths = model.get("stage_depths")
    return f"; it was trained with model.name={model['name']}" + (
        f" and model.stage_depths={tuple(depths)}" if depths else ""
    )
