"""Images per second and core in the host's part of the input, compared with timm.

    python benchmarks/input.py

Ours is the work of a loader process for one image: random draws, decode, random-resized crop,
antialiased resize, flip (RandAugment, normalisation and erasing run on the device). timm's whole
transform does all of it with Pillow. Each library has a process of its own, pinned to one core;
they take turns, and CPU time is counted, so that neighbours on a shared machine matter little.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import environment

HEIGHT, WIDTH = 375, 500  # the most frequent size in ImageNet
QUALITY = 98  # the pieces are smooth: at ordinary qualities the files are smaller than ImageNet's
SIZE, CROP_PCT = 224, 0.875
RAND_AUGMENT, ERASING = "rand-m9-mstd0.5-inc1", 0.25  # from the recipe of InceptionNeXt-T
OURS, TIMM = "inceptionnext_jax", "timm"
CASES = {
    "ours, training": (OURS, "train"),
    "timm, training, whole": (TIMM, "whole"),
    "timm, training, no normalising or erasing": (TIMM, "prefetcher"),
    "timm, training, no RandAugment": (TIMM, "plain"),
    "ours, evaluation": (OURS, "eval"),
    "timm, evaluation": (TIMM, "eval"),
}
RATIOS = {
    "training, against timm's whole transform": ("ours, training", "timm, training, whole"),
    "training, against timm without RandAugment": (
        "ours, training",
        "timm, training, no RandAugment",
    ),
    "evaluation": ("ours, evaluation", "timm, evaluation"),
}
Transform = Callable[[bytes, int], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=64, help="images per round and case")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results/cpu/input.json")
    parser.add_argument("--worker", choices=(OURS, TIMM), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args.worker, args.images, args.core)
        return
    seconds = measure(args.rounds, args.images, args.core)
    packages = ("numpy", "pillow", "opencv-python-headless", "torch", "torchvision", "timm")
    files = jpegs(args.images)
    result = {
        **environment.describe(packages),
        "what": "images/s on one core by CPU time; median and quartiles over rounds",
        "data": f"{args.images} photographs, {WIDTH}x{HEIGHT}, JPEG quality {QUALITY}, "
        f"{statistics.mean(map(len, files)) / 1000:.0f} KB on average",
        "rounds": args.rounds,
        "images_per_second": {case: rates(seconds[case], args.images) for case in CASES},
        "speed_up": {
            name: quartiles([b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)])
            for name, (ours, theirs) in RATIOS.items()
        },
    }
    environment.write_json(args.to, result)
    show(result)


def measure(rounds: int, images: int, core: int) -> dict[str, list[float]]:
    """CPU seconds of each case in each round; the order is reversed every other round."""
    command = [sys.executable, __file__, f"--images={images}", f"--core={core}"]
    workers = {
        name: subprocess.Popen(
            [*command, f"--worker={name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for name in (OURS, TIMM)
    }

    def ask(case: str, number: int) -> float:
        name, kind = CASES[case]
        stdin, stdout = workers[name].stdin, workers[name].stdout
        assert stdin is not None
        assert stdout is not None
        print(kind, number, file=stdin, flush=True)
        return float(stdout.readline())

    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for case in CASES:
        ask(case, -1)  # the first round imports and fills caches
    for number in range(rounds):
        for case in list(CASES)[:: -1 if number % 2 else 1]:
            seconds[case].append(ask(case, number))
    for worker in workers.values():
        worker.communicate()
    return seconds


def serve(name: str, images: int, core: int) -> None:
    """Answers each line "KIND ROUND" with the CPU seconds spent on the images."""
    os.sched_setaffinity(0, {core})
    transforms = ours() if name == OURS else timms()
    files = jpegs(images)
    for line in sys.stdin:
        kind, number = line.split()
        transform = transforms[kind]
        first = int(number) * images
        start = time.process_time()
        for index, file in enumerate(files):
            transform(file, first + index)
        print(time.process_time() - start, flush=True)


def jpegs(count: int) -> list[bytes]:
    """Pieces of scikit-image's and scikit-learn's photographs, enlarged or shrunk to one size."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    photos = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    photos += [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        photo = photos[number % len(photos)]
        height = int(rng.integers(280, 1 + min(photo.shape[0], photo.shape[1] * 3 // 4)))
        width = height * 4 // 3
        top = rng.integers(0, photo.shape[0] - height + 1)
        left = rng.integers(0, photo.shape[1] - width + 1)
        piece = Image.fromarray(photo[top : top + height, left : left + width])
        buffer = io.BytesIO()
        resized = piece.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        resized.save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    return files


def ours() -> dict[str, Transform]:
    from inceptionnext_jax.data import sampler
    from inceptionnext_jax.data.crop import NUM_UNIFORMS, CenterCrop, RandomResizedCrop

    def train(file: bytes, index: int) -> Any:
        uniforms = sampler.image_uniforms(0, index + 2**20, NUM_UNIFORMS)
        pixels = RandomResizedCrop(SIZE)(file, uniforms)
        return np.ascontiguousarray(pixels)  # like the copy into the batch

    def evaluate(file: bytes, index: int) -> Any:
        del index
        return CenterCrop(SIZE, CROP_PCT, "bicubic")(file)

    return {"train": train, "eval": evaluate}


def timms() -> dict[str, Transform]:
    import torch

    torch.set_num_threads(1)
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's torchvision lacks compiled operators for a CPU torch: declare the ones it needs.
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from timm.data import auto_augment, create_transform

    plain_posterize = auto_augment.ImageOps.posterize
    # timm requests 0 bits, which means black; Pillow 13 refuses them.
    auto_augment.ImageOps.posterize = lambda image, bits: (
        plain_posterize(image, bits) if bits else Image.new(image.mode, image.size)
    )
    recipe = {"is_training": True, "interpolation": "random", "re_mode": "pixel"}
    whole = {**recipe, "auto_augment": RAND_AUGMENT, "re_prob": ERASING}
    settings = {
        "whole": whole,
        "prefetcher": {**whole, "use_prefetcher": True},
        # No colour jitter either, which timm substitutes for RandAugment.
        "plain": {**recipe, "color_jitter": None, "re_prob": ERASING},
        "eval": {"interpolation": "bicubic", "crop_pct": CROP_PCT},
    }
    # Seeding each image would be timed as work; the rounds together average the draws.
    return {kind: _of_file(create_transform(SIZE, **options)) for kind, options in settings.items()}


def _of_file(transform: Callable[[Image.Image], Any]) -> Transform:
    return lambda file, index: transform(Image.open(io.BytesIO(file)).convert("RGB"))


def rates(seconds: list[float], images: int) -> dict[str, float]:
    return quartiles([images / value for value in seconds])


def quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(f"{median:.4g}"), "q1": float(f"{low:.4g}"), "q3": float(f"{high:.4g}")}


def show(result: dict[str, Any]) -> None:
    print(f"{result['device']['cpu']}, one core; {result['data']}")
    for unit, table in (("images/s", "images_per_second"), ("×", "speed_up")):
        for name, value in result[table].items():
            spread = f"({value['q1']:g} to {value['q3']:g})"
            print(f"{name:<45} {value['median']:>7g} {unit:<8} {spread}")


if __name__ == "__main__":
    main()
