"""A whole job from outside of the package: a network, a data set, a metric and a task.

The task is a regression, the brightness of an image's upper half. Images are wide or tall, so that
batches have two shapes; the rank correlation is a metric of all examples together, so that the
evaluation needs records.
"""

import json
import os
import signal
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from inceptionnext_jax.checks import Section
from inceptionnext_jax.data import ArraySpec, Example
from inceptionnext_jax.data.order import NO_EXAMPLE
from inceptionnext_jax.data.sampler import permutation
from inceptionnext_jax.explain.tiles import captioned
from inceptionnext_jax.files import write_atomically
from inceptionnext_jax.models import ModelInfo, create_model, list_models, register_model
from inceptionnext_jax.models.check import check_model
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.tasks import register_task
from inceptionnext_jax.tasks.kind import Input, Job, Sheet, Tiles
from inceptionnext_jax.train.plan import Footprint
from inceptionnext_jax.train.task import Aux, Metric

SHAPES = ((16, 24), (24, 16))  # wide, tall


# --- the network ---


class Strips(nn.Module):
    """Horizontal strips of an image, averaged and weighted; the host sets a gain."""

    stage_depths: tuple[int, ...] = (1,)
    num_classes: int = 1
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x, train=False, positions=None):
        gain = self.variable("host", "gain", jnp.ones, ())
        strips = x.reshape(x.shape[0], 8, -1, x.shape[2], 3).mean((2, 3, 4))
        x = nn.tanh(gain.value * nn.Dense(16, name="stem")(strips))
        return nn.Dense(self.num_classes, name="head")(x)


# --- the data ---


@dataclass(frozen=True)
class Pictures:
    """Noise of a random brightness; even numbers are wide, odd ones tall."""

    length: int
    seed: int

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        pixels = rng.integers(0, rng.integers(2, 256), (*SHAPES[index % 2], 3), np.uint8)
        return Example(pixels, index, f"picture {index}")


@dataclass(frozen=True)
class PicturesData:
    train: Pictures
    eval: Pictures

    @property
    def num_train(self):
        return len(self.train)

    @property
    def num_eval(self):
        return len(self.eval)


@dataclass(frozen=True)
class Halves:
    """The picture, perhaps mirrored, and the brightness of its upper half in [0, 1]."""

    shape: tuple[int, int]
    flips: bool

    @property
    def spec(self):
        return {"image": ArraySpec((*self.shape, 3), "uint8"), "target": ArraySpec((), "float32")}

    @property
    def num_uniforms(self):
        return int(self.flips)

    def __call__(self, example, uniforms):
        pixels = example.image[:, ::-1] if self.flips and uniforms[0] < 0.5 else example.image
        return {"image": pixels, "target": pixels[: len(pixels) // 2].mean() / 255}


@dataclass(frozen=True)
class Alternating:
    """Training: wide pictures in even steps, tall ones in odd steps."""

    seed: int
    batch_size: int
    length: int
    num_steps = None

    def transform(self, step):
        return step % 2

    def index(self, step, position):
        half = self.length // 2
        epoch, number = divmod((step // 2) * self.batch_size + position, half)
        return 2 * int(permutation(self.seed, epoch, half)[number]) + step % 2


@dataclass(frozen=True)
class WideThenTall:
    """Evaluation: all wide pictures, then all tall ones, each in batches of their own."""

    batch_size: int
    length: int

    @property
    def num_steps(self):
        return sum(self._steps)

    @property
    def _steps(self):
        counts = (self.length + 1) // 2, self.length // 2
        return tuple(-(-count // self.batch_size) for count in counts)

    def transform(self, step):
        return int(step >= self._steps[0])

    def index(self, step, position):
        tall = self.transform(step)
        number = (step - tall * self._steps[0]) * self.batch_size + position
        index = 2 * number + tall
        return index if index < self.length else NO_EXAMPLE


# --- the task ---

MSE = Metric("mse", higher_is_better=False, format="squared error {:.5f}", in_training=True)
RANK = Metric("rank", higher_is_better=True, format="rank correlation {:.4f}")


@dataclass(frozen=True)
class Brightness:
    """Squared error of the network's only output."""

    model: nn.Module
    metrics = (RANK, MSE)
    body = ""
    renewable = ("head/",)

    def init(self, key):
        return dict(self.model.init(key, jnp.zeros((2, *SHAPES[0], 3))))

    def augment(self, key, batch, positions):
        keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
        noise = jax.vmap(lambda k: jax.random.normal(k, ()))(keys)
        return {**batch, "target": batch["target"] + 0.001 * noise}

    def host_scalars(self, step):
        if step == int(os.environ.get("BRIGHTNESS_KILLED_BEFORE_STEP", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"gain": 1 + 0.1 * step}

    def loss(self, variables, batch, key, positions):
        errors = jnp.square(self._predict(variables, batch) - batch["target"])
        return errors.mean(), Aux({}, {"mse": (errors.sum(), jnp.float32(len(errors)))})

    def evaluate(self, variables, batch):
        predicted = self._predict(variables, batch)
        errors = jnp.square(predicted - batch["target"]) * batch["mask"]
        sums = {"mse": errors.sum(), "count": batch["mask"].sum()}
        return sums, {"predicted": predicted}

    def collect(self, records, batch):
        return [
            {"predicted": float(predicted), "target": float(target), "number": int(number)}
            for predicted, target, number in zip(
                records["predicted"], batch["target"], batch["index"], strict=True
            )
        ]

    def report(self, sums, kept):
        ranks = [
            np.argsort(np.argsort([item[name] for item in kept]))
            for name in ("predicted", "target")
        ]
        count = int(sums["count"])
        scalars = {
            "rank": float(np.corrcoef(ranks)[0, 1]),
            "mse": float(sums["mse"]) / count,
            "count": count,
        }
        return scalars, {**scalars, "examples": kept}

    def save_report(self, report, folder):
        write_atomically(folder / "eval.json", json.dumps(report))

    def metadata(self):
        return {"unit": "share of white"}

    def difference(self, metadata):
        return None

    def _predict(self, variables, batch):
        return self.model.apply(variables, batch["image"] / 255.0)[:, 0]


# --- from a config to a job ---

METRICS = (RANK, MSE)


def check(config):
    section = Section(config.data, "data")
    section.count("pictures", least=1)
    return [*section.problems, *check_model(config.model, 24)]


def open_data(config):
    return PicturesData(Pictures(config.data.pictures, 1), Pictures(37, 2))


def known_data(config):
    return None


def check_data(config, data):
    return []


def inspect(config, data, thorough, say):
    return None


def build(config, data):
    return Job(
        task=Brightness(create_model(config.model.name, num_classes=1)),
        train=Input(
            data.train,
            tuple(Halves(shape, flips=True) for shape in SHAPES),
            lambda batch_size: Alternating(config.seed, batch_size, len(data.train)),
        ),
        evaluation=Input(
            data.eval,
            tuple(Halves(shape, flips=False) for shape in SHAPES),
            lambda batch_size: WideThenTall(batch_size, len(data.eval)),
        ),
        footprint=Footprint(parameters=161, activations=1024),
        rows=lambda plan: [("data", f"{config.data.pictures} pictures", "wide and tall")],
    )


def sheet(config, data):
    return Sheet(
        None, ["mirroring, and noise on targets"], lambda rows: Tiles(list(map(_row, rows)))
    )


def _row(batch):
    pixels = batch["image"].astype(np.uint8)
    texts = [f"{target:.2f}" for target in batch["target"]]
    return [captioned(*pair) for pair in zip(pixels, texts, strict=True)]


if "strips" not in list_models():
    family = Family(classifier=("params", "head", "bias"), host_scalars=("gain",))
    register_model(ModelInfo("strips", input_size=24, stage_depths=(1,), family=family), Strips)
register_task("brightness", "tests.outside.brightness")
