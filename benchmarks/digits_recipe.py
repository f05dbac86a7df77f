"""Parts of the recipe switched on one by one, each in a full training of configs/digits.py.

    python benchmarks/digits_recipe.py

Writes benchmarks/results/cpu/digits_recipe.json and prints a Markdown table.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import environment

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "cpu" / "digits_recipe.json"
ROWS = {
    "digits.py as it is": {},
    "RandAugment": {"augment.rand_augment": "rand-m9-mstd0.5-inc1"},
    "mixup 0.8": {"augment.mixup": 0.8},
    "CutMix 1.0": {"augment.cutmix": 1.0},
    "random erasing 0.25": {"augment.random_erasing": 0.25},
    "drop path 0.1": {"model.drop_path_rate": 0.1},
    "EMA 0.98": {"ema_decay": 0.98},
    "binary cross entropy": {"loss.name": "bce"},
    "4 micro-batches of 32": {"model.bn_group_size": 32, "optim.accumulate": 4},
    "mixup + CutMix, ConvNeXt's order": {
        "augment.mixup": 0.8, "augment.cutmix": 1.0, "augment.random_erasing": 0.25,
        "augment.order": "convnext",
    },
    "all of InceptionNeXt-T's": {
        "augment.rand_augment": "rand-m9-mstd0.5-inc1", "augment.mixup": 0.8,
        "augment.cutmix": 1.0, "augment.random_erasing": 0.25, "model.drop_path_rate": 0.1,
    },
}  # fmt: skip


def measure(changes: dict) -> dict:
    """Trains in a fresh workdir; returns the scores on the last line of its log."""
    with tempfile.TemporaryDirectory() as workdir:
        flags = [f"--config.{key}={value}" for key, value in changes.items()]
        subprocess.run(
            [
                sys.executable,
                "main.py",
                "--config=configs/digits.py",
                f"--workdir={workdir}",
                *flags,
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        last = json.loads((Path(workdir) / "metrics.jsonl").read_text().splitlines()[-1])
    kept = ("train/loss", "eval/loss", "eval/top1", "eval_ema/top1")
    return {"step": last["step"], **{key: last[key] for key in kept if key in last}}


def main() -> None:
    rows = {}
    for name, changes in ROWS.items():
        rows[name] = {"changes": changes, **measure(changes)}
        print(
            f"| {name} | {rows[name]['train/loss']:.3f} | {rows[name]['eval/top1']:.4f} |",
            flush=True,
        )
    record = environment.describe(("jax", "flax", "optax", "numpy"))
    environment.write_json(RESULT, {**record, "rows": rows})


if __name__ == "__main__":
    main()
