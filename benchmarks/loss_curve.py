"""Our training step against a PyTorch loop made of timm's parts: the same loss at every step.

python -m benchmarks.loss_curve

Both sides start from the same weights and see the same 100 batches of mixed digits with their soft
targets; then AdamW with its parameter groups, the cosine schedule with warm-up, and averaging of
weights and statistics run on both. Drop path is off, and BatchNorm sees the whole batch, as their
random numbers and groups are not PyTorch's. In float64 the difference shows the mathematics, in
float32 what rounding adds. There, biases of convolutions before a BatchNorm (and what they move in
the running means) drift apart: the norm takes them out of the loss, so their gradient is rounding
and nothing else, and Adam makes steps of that. Losses and predictions do not see it.

Writes docs/loss_curve.png and benchmarks/results/loss_curve.json.
"""

import dataclasses
import importlib.metadata
import io
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import inceptionnext_jax as inx
from benchmarks.oracle import import_timm
from configs import digits
from inceptionnext_jax import trees
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.convert.tables import family, locate
from inceptionnext_jax.data import known_dataset, open_dataset
from inceptionnext_jax.tasks.classification import build
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.plan import DTYPES, Plan, Sizes, make_plan
from inceptionnext_jax.train.schedule import make_schedule
from inceptionnext_jax.train.state import TrainState, create_state
from inceptionnext_jax.train.step import StepScalars, make_train_step

ROOT = Path(__file__).parent.parent
STEPS, STEPS_PER_EPOCH, BATCH = 100, 10, 16


class Net(NamedTuple):
    """A model that both sides have."""

    name: str
    timm_name: str
    stage_depths: tuple[int, ...]


# Published widths and kernels; one block a stage is the fewest that there can be, and all kinds of
# layers are in it.
NETS = (
    Net("inceptionnext_atto", "inception_next_atto", (1, 1, 1, 1)),
    Net("inceptionnext_tiny", "inception_next_tiny", (1, 1, 1, 1)),
    Net("convnext_atto", "convnext_atto", (1, 1, 1, 1)),
)
CHANGES = {
    "model.drop_path_rate": 0.0,
    "model.depthwise_impl": "shift",  # the fastest in float64 on a CPU
    "batch_size": BATCH,
    "optim.lr": 1e-3,
    "optim.lr_batch_size": 0,
    "ema_decay": 0.95,  # so that the average moves far in 100 steps
    "total_epochs": STEPS / STEPS_PER_EPOCH,
    "schedule.per": "epoch",
    "schedule.warmup_epochs": 2.0,
    "schedule.warmup_lr": 1e-4,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.random_erasing": 0.25,
}


def nets() -> list[Net]:
    """The rows of `NETS` whose model exists."""
    return [net for net in NETS if net.name in inx.list_models()]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Losses [steps] of both sides, and largest deviations of what they end with."""

    ours: np.ndarray
    theirs: np.ndarray
    weights: float  # these three: |ours - theirs|, largest of all elements
    averages: float
    statistics: float

    @property
    def losses(self) -> float:
        """The largest relative deviation of a loss."""
        return float(np.max(np.abs(self.ours - self.theirs) / np.abs(self.theirs)))


def compare(net: Net, dtype: str, steps: int = STEPS) -> Comparison:
    """Trains on both sides in "float32" or "float64"."""
    model = _timm_model(net)
    state_dict = {key: value.numpy() for key, value in model.state_dict().items()}
    with jax.enable_x64(dtype == "float64"):
        config, plan, task = _parts(net, dtype)
        batches = _batches(task, steps)
        variables = from_torch(net.name, state_dict, stage_depths=net.stage_depths)
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables)
        state, losses = _ours(config, plan, task, variables, batches)
        average, their_losses = _theirs(model, config, dtype, batches)
        trained = model.state_dict()
        return Comparison(
            ours=np.array(losses),
            theirs=np.array(their_losses),
            weights=_deviation(net, {"params": state.params}, trained),
            averages=_deviation(net, state.ema, average),
            statistics=_deviation(net, {"batch_stats": state.batch_stats}, trained),
        )


def _parts(net: Net, dtype: str) -> tuple[Any, Plan, Any]:
    config = digits.get_config()
    config.update_from_flattened_dict(CHANGES)
    config.model.name, config.model.stage_depths = net.name, net.stage_depths
    config.compute_dtype = dtype
    plan = make_plan(config, Sizes(STEPS_PER_EPOCH * BATCH, 0), devices=1)
    return config, plan, build.build(config, known_dataset("digits")).task


def _timm_model(net: Net) -> Any:
    """timm's, with its own initial weights: always the same ones."""
    timm = import_timm()
    import torch

    torch.manual_seed(0)
    return timm.create_model(net.timm_name, num_classes=10, depths=net.stage_depths)


def _batches(task: Any, steps: int) -> list[dict[str, np.ndarray]]:
    """Mixed, normalised, erased images [N, 32, 32, 3] and soft targets [N, 10], for both sides."""
    from PIL import Image

    source = open_dataset("digits").train
    examples = [source[i] for i in range(STEPS_PER_EPOCH * BATCH)]
    images = np.stack([np.asarray(Image.open(io.BytesIO(e.image))) for e in examples])
    labels = np.array([example.label for example in examples], np.int32)
    augment = jax.jit(task.augment)
    positions = jnp.arange(BATCH, dtype=jnp.int32)
    found = []
    for step in range(steps):
        rows = (step * BATCH + np.arange(BATCH)) % len(labels)
        key = jax.random.fold_in(jax.random.key(2), step)
        batch = augment(key, {"image": images[rows], "label": labels[rows]}, positions)
        found.append({name: np.asarray(batch[name]) for name in ("image", "target")})
    return found


def _ours(
    config: Any, plan: Plan, task: Any, variables: Any, batches: Sequence[dict[str, np.ndarray]]
) -> tuple[TrainState, list[float]]:
    """The package's own step, but for the augmentation, which has been done."""
    task = dataclasses.replace(task, augment_fn=lambda key, batch, positions: batch)
    optimizer = make_optimizer(config.optim, variables["params"], config.model.name)
    schedule = make_schedule(plan.schedule)
    state = create_state(variables, optimizer.tx, ema=True)
    train_step = make_train_step(task, optimizer, seed=0, ema_decay=config.ema_decay)
    step = jax.jit(train_step, donate_argnums=0)
    losses = []
    for done, batch in enumerate(batches):
        rate = np.asarray(schedule(done), DTYPES[config.compute_dtype])
        state, metrics = step(state, jax.tree.map(lambda a: a[None], batch), StepScalars(rate, {}))
        total, count = metrics["mean"]["loss"]
        losses.append(float(total) / float(count))
    return state, losses


def _theirs(
    model: Any, config: Any, dtype: str, batches: Sequence[dict[str, np.ndarray]]
) -> tuple[dict[str, Any], list[float]]:
    """Trains timm's model in a loop of timm's parts: (state dict of its average, losses)."""
    import torch
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import ModelEmaV2

    torch.set_num_threads(1)  # in nets so small, threads wait longer than they work
    model.to(getattr(torch, dtype)).train()
    o, s = config.optim, config.schedule
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=o.lr, weight_decay=o.weight_decay, eps=o.eps, betas=(o.b1, o.b2)
    )
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=int(config.total_epochs),
        lr_min=s.min_lr,
        warmup_t=int(s.warmup_epochs),
        warmup_lr_init=s.warmup_lr,
    )
    average, loss_fn = ModelEmaV2(model, config.ema_decay), SoftTargetCrossEntropy()
    losses = []
    for done, batch in enumerate(batches):
        if done % STEPS_PER_EPOCH == 0:
            scheduler.step(done // STEPS_PER_EPOCH)
        images = torch.tensor(batch["image"]).permute(0, 3, 1, 2)
        loss = loss_fn(model(images), torch.tensor(batch["target"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
        losses.append(loss.item())
    return average.module.state_dict(), losses


def _deviation(net: Net, ours: Any, theirs: dict[str, Any]) -> float:
    """The largest difference of arrays of ours from those of a state dict; 0 if there are none."""
    table = family(net.name).namings[0]
    largest = 0.0
    for path, leaf in trees.paths_and_leaves(ours):
        key, layout = locate(table, tuple(path.split("/")[1:]))
        wanted = layout.from_torch(theirs[key].numpy())
        largest = max(largest, float(np.max(np.abs(np.asarray(leaf) - wanted))))
    return largest


def summary(found: Comparison) -> dict[str, Any]:
    """What the JSON says of a comparison; curves of ours only, as the others lie on them."""
    return {
        "largest_relative_deviation_of_a_loss": found.losses,
        "largest_deviation_of_a_weight": found.weights,
        "largest_deviation_of_an_average": found.averages,
        "largest_deviation_of_a_running_statistic": found.statistics,
        "first_loss": float(found.ours[0]),
        "last_loss": float(found.ours[-1]),
    }


def draw(found: dict[str, Comparison], path: Path) -> None:
    """Float32 curves of both sides on each other, and the deviation below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * len(found), 5.6), layout="constrained")
    axes = figure.subplots(2, len(found), sharex=True, height_ratios=(3, 1), squeeze=False)
    for column, (name, curves) in enumerate(found.items()):
        upper, lower = axes[:, column]
        steps = np.arange(1, len(curves.ours) + 1)
        upper.plot(steps, curves.theirs, color="tab:orange", linewidth=4, alpha=0.5, label="timm")
        upper.plot(steps, curves.ours, color="tab:blue", linewidth=1, label="inceptionnext_jax")
        upper.set_title(f"{name}, float32\nlargest relative deviation {curves.losses:.1e}")
        upper.set_ylabel("training loss")
        upper.legend()
        deviation = np.abs(curves.ours - curves.theirs) / curves.theirs
        lower.semilogy(steps, np.maximum(deviation, 1e-9), color="tab:gray")
        lower.set_ylabel("relative deviation")
        lower.set_xlabel("step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    versions = {
        package: importlib.metadata.version(package)
        for package in ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "timm")
    }
    results: dict[str, Any] = {
        "steps": STEPS,
        "batch_size": BATCH,
        "image_size": 32,
        "settings": {key: CHANGES[key] for key in sorted(CHANGES)},
        "versions": {"python": platform.python_version(), **versions},
        "nets": {},
    }
    curves = {}
    for net in nets():
        found = {dtype: compare(net, dtype) for dtype in ("float64", "float32")}
        curves[net.name] = found["float32"]
        results["nets"][net.name] = {
            "stage_depths": net.stage_depths,
            **{dtype: summary(comparison) for dtype, comparison in found.items()},
        }
        print(net.name, json.dumps(results["nets"][net.name], indent=1))
    draw(curves, ROOT / "docs" / "loss_curve.png")
    path = ROOT / "benchmarks" / "results" / "loss_curve.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
