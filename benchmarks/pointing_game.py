"""The pointing game: does a class map's maximum lie on the object of the class?

    python -m benchmarks.pointing_game

Digits of scikit-learn are pasted at random positions on noisy canvases, a MetaNeXt of two stages is
trained on them here, and the maxima of Grad-CAM and Grad-CAM++ on correctly classified held-out
images are compared with the boxes that the digits were pasted into. Writes docs/pointing_game.png
and benchmarks/results/cpu/pointing_game.json.
"""

import functools
import json
import time
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from benchmarks import environment
from configs import default
from inceptionnext_jax.augment.normalize import normalize
from inceptionnext_jax.data.digits import NUM_CLASSES, split_digits
from inceptionnext_jax.explain import cam, heat
from inceptionnext_jax.explain.grid import draw_grid
from inceptionnext_jax.explain.tiles import Tone, captioned
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import IMAGENET_MEAN, IMAGENET_STD
from inceptionnext_jax.pretrained.preprocessing import Preprocessing
from inceptionnext_jax.tasks.classification.losses import softmax_loss
from inceptionnext_jax.tasks.classification.task import Classification
from inceptionnext_jax.train.init_state import init_key
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.schedule import ScheduleSettings, make_schedule
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.train.step import StepScalars, make_train_step

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/cpu/pointing_game.json"
FIGURE = ROOT / "docs/pointing_game.png"
CANVAS, DIGIT = 96, 40  # pixels
LAYER = "stages_1"  # the last stage, the head's input
SEED, BATCH, STEPS = 0, 128, 250
SCHEDULE = ScheduleSettings(
    name="cosine",
    peak_lr=4e-3,
    warmup_lr=0.0,
    min_lr=0.0,
    warmup_epochs=1.0,
    total_epochs=STEPS / 50,
    steps_per_epoch=50,
    per="step",
)
SHOWN = (4, 2, 2)  # digits in the figure: right answers, misses among them, wrong answers
PER_ROW, ZOOM = 2, 5


class Digits(NamedTuple):
    """images: [N, DIGIT, DIGIT] uint8, ink on black; labels: [N] int."""

    images: np.ndarray
    labels: np.ndarray


class Scenes(NamedTuple):
    """images: [N, CANVAS, CANVAS, 3] uint8; corners: [N, 2] int32, top and left of the boxes."""

    images: Any
    corners: Any


class Game(NamedTuple):
    """A method's maps of N held-out images, and the network's answers.

    Attributes:
      scenes: The images and the digits' boxes.
      maps: [N, h, w] float32, of the layer's size.
      heat: [N, CANVAS, CANVAS] float32, enlarged.
      peaks: [N, 2] row and column of their maxima.
      classes: [N] the answers.
      is_right: [N] bool, whether the answer is the label.
      is_hit: [N] bool, whether the maximum lies in the box.
    """

    scenes: Scenes
    maps: np.ndarray
    heat: np.ndarray
    peaks: np.ndarray
    classes: np.ndarray
    is_right: np.ndarray
    is_hit: np.ndarray

    @property
    def scores(self) -> dict[str, float]:
        """ "top1" of all, and "hits" among those classified correctly."""
        hits = float(self.is_hit[self.is_right].mean())
        return {"images": len(self.heat), "top1": float(self.is_right.mean()), "hits": hits}


def load_digits() -> tuple[Digits, Digits]:
    """Returns the 1,438 digits to train on and the 359 held out, as `data.digits` splits them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.round(found.images * (255 / 16)).astype(np.uint8)
    side = (DIGIT, DIGIT)
    large = [np.asarray(Image.fromarray(i).resize(side, Image.Resampling.BICUBIC)) for i in grey]
    labels = found.target.astype(np.int32)
    train, held_out = split_digits(labels)
    images = np.stack(large)
    return Digits(images[train], labels[train]), Digits(images[held_out], labels[held_out])


def paste(key: jax.Array, digits: jax.Array) -> Scenes:
    """Pastes digits [N, DIGIT, DIGIT] uint8 at random positions on canvases of coloured noise.

    The noise is uniform below half of white; a pixel is the brighter of ink and noise.
    """
    corner_key, noise_key = jax.random.split(key)
    count = len(digits)
    corners = jax.random.randint(corner_key, (count, 2), 0, CANVAS - DIGIT + 1)
    noise = jax.random.uniform(noise_key, (count, CANVAS, CANVAS, 3), maxval=128)

    def on_canvas(digit: jax.Array, corner: jax.Array) -> jax.Array:
        empty = jnp.zeros((CANVAS, CANVAS), digit.dtype)
        return jax.lax.dynamic_update_slice(empty, digit, (corner[0], corner[1]))

    ink = jax.vmap(on_canvas)(digits, corners)[..., None]
    return Scenes(jnp.maximum(noise.astype(jnp.uint8), ink), corners)


def make_task() -> Classification:
    """The task of a shallow MetaNeXt whose cells see less than a digit."""
    model = MetaNeXt(
        num_classes=NUM_CLASSES,
        stage_depths=(1, 1),
        stage_dims=(32, 64),
        mlp_ratios=(4, 4),
        token_mixer="depthwise",
        kernel_size=3,
        head="linear",
        layer_scale_init=0.0,
    )
    scaled = functools.partial(normalize, mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=jnp.float32)

    def augment(key: jax.Array, batch: Any, positions: jax.Array) -> Any:
        target = jax.nn.one_hot(batch["label"], NUM_CLASSES)
        return {"image": scaled(paste(key, batch["image"]).images), "target": target}

    names = [str(digit) for digit in range(NUM_CLASSES)]
    before = Preprocessing(CANVAS, 1.0, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    return Classification(model, before, names, augment, softmax_loss)


def train(task: Classification, digits: Digits) -> Any:
    """Returns the variables after STEPS of AdamW; positions and noise are new in each step."""
    variables = jax.jit(task.init)(init_key(SEED))
    optimizer = make_optimizer(default.get_config().optim, variables["params"])
    state = create_state(variables, optimizer.tx, ema=False)
    step = jax.jit(make_train_step(task, optimizer, seed=SEED, ema_decay=None), donate_argnums=0)
    rate, random = make_schedule(SCHEDULE), np.random.default_rng(SEED)
    for number in range(STEPS):
        chosen = random.integers(0, len(digits.labels), (1, BATCH))
        batch = {"image": digits.images[chosen], "label": digits.labels[chosen]}
        state, _ = step(state, batch, StepScalars(jnp.float32(rate(number)), {}))
    return jax.device_get(state.weights())


def play(task: Classification, variables: Any, held_out: Digits, method: str) -> Game:
    """Explains the likeliest classes; all methods get the same images."""
    pasted = jax.jit(paste)(jax.random.key(SEED), held_out.images)
    found = cam.class_maps(task.model, variables, task.normalize(pasted.images), LAYER, method)
    heats = heat.enlarged(found.maps, CANVAS)
    peaks = np.stack([np.unravel_index(one.argmax(), one.shape) for one in heats])
    scenes = Scenes(*map(np.asarray, pasted))
    is_hit = ((peaks >= scenes.corners) & (peaks < scenes.corners + DIGIT)).all(1)
    is_right = found.classes == held_out.labels
    return Game(scenes, found.maps, heats, peaks, found.classes, is_right, is_hit)


def draw(held_out: Digits, games: dict[str, Game], to: Path) -> None:
    """Draws the figure: right answers in order, then misses of Grad-CAM, then wrong answers."""
    first = next(iter(games.values()))
    groups = (first.is_right, first.is_right & ~first.is_hit, ~first.is_right)
    shown: list[int] = []
    for group, count in zip(groups, SHOWN, strict=True):
        shown += [i for i in np.flatnonzero(group) if i not in shown][:count]
    tiles = [_tiles(i, int(held_out.labels[i]), games) for i in shown]
    rows = [list(chain(*tiles[i : i + PER_ROW])) for i in range(0, len(tiles), PER_ROW)]
    scores = (f"{method} {game.scores['hits']:.1%}" for method, game in games.items())
    lines = [
        f"Maxima (crosses) in the box of the digit: {', '.join(scores)} of the right answers.",
        f"Top-1 {first.scores['top1']:.1%} of {first.scores['images']} held-out images. Right "
        f"answers as they come, then misses of Grad-CAM, then wrong answers.",
    ]
    columns = ["image", "Grad-CAM", "Grad-CAM++"] * min(PER_ROW, len(tiles))
    picture = draw_grid("The pointing game", lines, rows, columns=columns)
    picture.quantize(256).save(to, optimize=True)  # a quarter of the bytes


def _tiles(index: int, label: int, games: dict[str, Game]) -> list[Image.Image]:
    """The image, and each method's map on it with box and maximum."""
    tiles: list[Image.Image] = []
    for game in games.values():
        pixels, (top, left) = game.scenes.images[index], game.scenes.corners[index]
        tiles = tiles or [captioned(_marked(pixels, top, left), f"{label}")]
        mixed = heat.overlaid(pixels, heat.normalised(game.heat[index : index + 1])[0])
        is_hit, answer = game.is_hit[index], game.classes[index]
        text = f"{answer}, {'in' if is_hit else 'beside'} the box"
        tone: Tone = "right" if is_hit and game.is_right[index] else "wrong"
        tiles.append(captioned(_marked(mixed, top, left, game.peaks[index]), text, tone))
    return tiles


def _marked(pixels: np.ndarray, top: int, left: int, peak: Any = None) -> np.ndarray:
    """Enlarged [CANVAS, CANVAS, 3] with the digit's box, and a cross at the maximum."""
    picture = Image.fromarray(pixels.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))
    pen = ImageDraw.Draw(picture)
    box = (left * ZOOM, top * ZOOM, (left + DIGIT) * ZOOM - 1, (top + DIGIT) * ZOOM - 1)
    pen.rectangle([int(side) for side in box], outline="#ffffff", width=3)
    if peak is not None:
        y, x = ((peak + 0.5) * ZOOM).tolist()
        for colour, width in (("#000000", 8), ("#ffffff", 4)):
            pen.line((x - 16, y, x + 16, y), colour, width)
            pen.line((x, y - 16, x, y + 16), colour, width)
    return np.asarray(picture)


def main() -> None:
    task = make_task()
    digits, held_out = load_digits()
    start = time.perf_counter()
    variables = train(task, digits)
    seconds = time.perf_counter() - start
    games = {name: play(task, variables, held_out, name) for name in cam.METHODS}
    draw(held_out, games, FIGURE)
    rows = {method: game.scores for method, game in games.items()}
    print(json.dumps(rows))
    setting = {
        "canvas": CANVAS,
        "digit": DIGIT,
        "stride": CANVAS // games["gradcam"].maps.shape[1],
        "layer": LAYER,
        "batch": BATCH,
        "steps": STEPS,
        "seed": SEED,
        "train_seconds": round(seconds, 1),
        "chance": (DIGIT / CANVAS) ** 2,
    }
    record = environment.describe(("jax", "flax", "optax", "numpy", "scikit-learn"))
    environment.write_json(RESULT, {**record, **setting, "rows": rows})


if __name__ == "__main__":
    main()
