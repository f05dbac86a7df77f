"""The pointing game: does a class map's maximum fall on what the network was to find?

    python -m benchmarks.pointing_game

Digits of scikit-learn are pasted at random places of noisy canvases, an InceptionNeXt is trained on
them here, and the maxima of Grad-CAM and Grad-CAM++ on correctly classified held-out images are
compared with the boxes that the digits were pasted into. Writes docs/cam.png and
benchmarks/results/cpu/pointing_game.json.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import environment
from inceptionnext_jax.pretrained import Pretrained, load_pretrained

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/cpu/pointing_game.json"
FIGURE = ROOT / "docs/cam.png"
CANVAS, DIGIT, STRIDE = 64, 24, 8  # pixels; a cell of the map is a third of a digit
FLAGS = (
    "--config=configs/digits.py",
    "--config.data.name=folder",
    "--config.eval.every_steps=0",
    "--config.checkpoint.every_steps=0",
    f"--config.data.image_size={CANVAS}",
    f"--config.model.output_stride={STRIDE}",
    "--config.model.stage_depths=(1,1,1,1)",
    "--config.augment.scale=(1.0,1.0)",  # a crop might lose the digit
    "--config.augment.ratio=(1.0,1.0)",
)
COPIES, EPOCHS = 2, 10.0
SHOWN = 4  # digits in the figure, at most, of each answer


def paste(digit: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """A digit [8, 8], 0 … 16, on a canvas: ([CANVAS, CANVAS, 3] uint8, (top, left) of its box)."""
    grey = Image.fromarray(np.round(digit * (255 / 16)).astype(np.uint8))
    ink = np.asarray(grey.resize((DIGIT, DIGIT), Image.Resampling.BICUBIC), np.float64)
    top, left = random.integers(0, CANVAS - DIGIT + 1, 2).tolist()
    canvas = random.uniform(0, 128, (CANVAS, CANVAS, 3))
    box = canvas[top : top + DIGIT, left : left + DIGIT]
    np.maximum(box, ink[..., None], out=box)
    return canvas.astype(np.uint8), (top, left)


def write_images(folder: Path, copies: int, seed: int = 0) -> dict[str, tuple[int, int]]:
    """Writes DIR/{train,val}/<class>/*.png; returns the boxes of the held-out images by path."""
    from sklearn.datasets import load_digits

    from inceptionnext_jax.data.digits import split_digits

    random, digits = np.random.default_rng(seed), load_digits()
    train, held_out = split_digits(digits.target.astype(int))
    boxes = {}
    for split, indices, times in (("train", train, copies), ("val", held_out, 1)):
        for index in np.repeat(indices, times):
            pixels, box = paste(digits.images[index], random)
            parent = folder / split / str(digits.target[index])
            parent.mkdir(parents=True, exist_ok=True)
            path = parent / f"{index:04d}_{len(list(parent.glob(f'{index:04d}_*')))}.png"
            Image.fromarray(pixels).save(path)
            if split == "val":
                boxes[str(path)] = box
    return boxes


def train(images: Path, workdir: Path, epochs: float) -> None:
    """Trains by the command that a user would type."""
    flags = [f"--config.data.dir={images}", f"--config.total_epochs={epochs}"]
    command = [sys.executable, "main.py", f"--workdir={workdir}", *FLAGS, *flags]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def play(network: Pretrained, boxes: dict[str, tuple[int, int]], method: str, layer: str) -> dict:
    """{"images", "top1", "hits" (of the correctly classified), "paths", "is_right", "is_hit"}."""
    from inceptionnext_jax.explain.explained import explain_images

    paths = list(boxes)
    pixels = np.stack([network.preprocessing.pixels(Path(p).read_bytes(), p) for p in paths])
    found = explain_images(network, pixels, layer, method)
    labels = np.array([network.class_names.index(Path(path).parent.name) for path in paths])
    peaks = np.stack(
        [np.unravel_index(one.argmax(), one.shape) for one in found.heat]
    )  # [N, 2] rows and columns of pixels
    corners = np.array(list(boxes.values()))
    is_hit = ((peaks >= corners) & (peaks < corners + DIGIT)).all(1)
    is_right = found.classes == labels
    return {
        "images": len(paths),
        "top1": float(is_right.mean()),
        "hits": float(is_hit[is_right].mean()),
        "paths": paths,
        "is_right": is_right,
        "is_hit": is_hit,
    }


def draw(workdir: Path, game: dict, to: Path) -> None:
    """The figure, by the command that a user would type: some right answers, then wrong ones."""
    order = np.arange(game["images"]) * 7 % game["images"]  # not one class after another
    right = [game["paths"][i] for i in order if game["is_right"][i]][:SHOWN]
    wrong = [game["paths"][i] for i in order if not game["is_right"][i]][:SHOWN]
    command = [sys.executable, "-m", "inceptionnext_jax", "explain", "cam", str(workdir)]
    subprocess.run([*command, *right, *wrong, f"--to={to}"], cwd=ROOT, check=True)


def main() -> None:
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        images, workdir = Path(folder) / "images", Path(folder) / "run"
        boxes = write_images(images, copies=COPIES)
        train(images, workdir, epochs=EPOCHS)
        network = load_pretrained(workdir)
        for method in ("gradcam", "gradcam++"):
            for layer in ("stages_3", "stages_2", "stages_1"):
                game = play(network, boxes, method, layer)
                rows[f"{method} {layer}"] = {key: game[key] for key in ("images", "top1", "hits")}
                print(method, layer, json.dumps(rows[f"{method} {layer}"]), flush=True)
                if (method, layer) == ("gradcam", "stages_3"):
                    draw(workdir, game, FIGURE)
                    FIGURE.with_suffix(".npz").unlink()
    chance = (DIGIT / CANVAS) ** 2
    record = environment.describe(("jax", "flax", "numpy"))
    environment.write_json(RESULT, {**record, "chance": chance, "rows": rows})


if __name__ == "__main__":
    main()
