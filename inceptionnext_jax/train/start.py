"""The state that a run begins with: resumed, from given weights, or fresh."""

from collections.abc import Callable
from pathlib import Path

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from inceptionnext_jax.train import mesh as meshes
from inceptionnext_jax.train.checkpoint import Checkpoints
from inceptionnext_jax.train.init_from import merge
from inceptionnext_jax.train.state import TrainState, create_state
from inceptionnext_jax.train.task import Task
from inceptionnext_jax.train.weights import load_weights, on_mesh, with_layout_of

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
        self, source: str, model: ConfigDict, say: Callable[[str], None]
    ) -> TrainState:
        """Fresh but for the weights at `source` (its averages where it has them)."""
        variables, averages, _ = load_weights(
            Path(source).expanduser(), model.name, model.stage_depths
        )
        if averages is not None:
            say(f"init_from={source}: taking the averaged weights")
        fresh = self.fresh().weights()
        merged, notes = merge(fresh, with_layout_of(fresh, averages or variables), source)
        for note in notes:
            say(note)
        placed = on_mesh(merged, self.abstract.weights())
        return jax.jit(self._create, out_shardings=self.shardings)(placed)
