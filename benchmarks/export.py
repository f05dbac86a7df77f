"""Exported files: sizes, start-up times, and onnxruntime against timm's own export.

    python -m benchmarks.export

For each network the same random weights are exported here (ONNX and StableHLO) and by PyTorch from
timm's model. Both ONNX files run in one process, pinned to one core, in turns, so that load on a
shared machine affects both. A start is a new process up to its first answer. Writes
benchmarks/results/cpu/export.json and prints Markdown tables.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import environment

RESULT = Path(__file__).parent / "results/cpu/export.json"
MODELS = ("inceptionnext_atto", "inceptionnext_tiny", "convnext_tiny")
BATCHES = (1, 8)
_START = {
    ".onnx": "import numpy as np, onnxruntime\n"
    "session = onnxruntime.InferenceSession({path!r}, providers=['CPUExecutionProvider'])\n"
    "session.run(None, {{session.get_inputs()[0].name: np.zeros({shape}, np.float32)}})\n",
    ".stablehlo": "import numpy as np\nfrom jax import export\n"
    "network = export.deserialize(bytearray(open({path!r}, 'rb').read()))\n"
    "np.asarray(network.call(np.zeros({shape}, np.float32)))\n",
}


def export_timms(model: Any, size: int, path: Path) -> None:
    """PyTorch's own ONNX export of a timm model, batch size free."""
    import torch

    torch.onnx.export(
        model,
        (torch.zeros(2, 3, size, size),),
        str(path),
        dynamic_shapes=({0: torch.export.Dim("B")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def session(path: Path) -> Any:
    """An onnxruntime session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def race(ours: Path, theirs: Path, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of CPU time of a batch, medians of alternating runs, and ours over theirs."""
    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    runs = []
    for path, array in (
        (ours, images),
        (theirs, np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
    ):
        one = session(path)
        runs.append((one, {one.get_inputs()[0].name: array}))
    answers = [one.run(None, feed)[0] for one, feed in runs]
    seconds: list[list[float]] = [[], []]
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            one, feed = runs[which]
            start = time.process_time()
            one.run(None, feed)
            seconds[which].append(time.process_time() - start)
    medians = [statistics.median(times) for times in seconds]
    pairs = [a / b for a, b in zip(*seconds, strict=True)]
    return {
        "batch": batch,
        "ours_ms": round(1000 * medians[0], 2),
        "timm_ms": round(1000 * medians[1], 2),
        "ratio": round(statistics.median(pairs), 3),
        "largest_difference": float(np.abs(answers[0] - answers[1]).max()),
    }


def start_seconds(path: Path, shape: tuple[int, ...], times: int = 2) -> float:
    """Seconds from a new process to its first answer, the shortest of `times`."""
    code = _START[path.suffix].format(path=str(path), shape=shape)
    found = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        found.append(time.perf_counter() - start)
    return round(min(found), 2)


def measure(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """All results of one network."""
    import torch

    from benchmarks.oracle import import_timm
    from inceptionnext_jax.convert import from_torch
    from inceptionnext_jax.convert.timm_names import timm_name
    from inceptionnext_jax.export import export
    from inceptionnext_jax.pretrained import Pretrained

    timm = import_timm()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = timm.create_model(timm_name(name), exportable=True).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("gamma"):
                value.fill_(0.5)  # from 1e-6, which would hide every block
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    network = Pretrained(name, from_torch(name, state))
    size = network.preprocessing.image_size
    ours = export(network, folder / "onnx", "onnx")
    hlo = export(network, folder / "stablehlo", "stablehlo")
    theirs = folder / "timm.onnx"
    export_timms(model, size, theirs)
    row: dict[str, Any] = {"races": [race(ours, theirs, size, b, rounds) for b in BATCHES]}
    files = {"onnx": (ours, (1, size, size, 3)), "stablehlo": (hlo, (1, size, size, 3))}
    files["timm_onnx"] = (theirs, (1, 3, size, size))
    for label, (path, shape) in files.items():
        row[f"{label}_mb"] = round(path.stat().st_size / 1e6, 1)
        row[f"{label}_start_seconds"] = start_seconds(path, shape)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = {}
    print("| network | batch | ours, ms | timm's, ms | ours / timm's |\n|---|---|---|---|---|")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(name, Path(folder), args.rounds)
        for one in rows[name]["races"]:
            cells = (name, one["batch"], one["ours_ms"], one["timm_ms"], one["ratio"])
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print("\n| network | file | MB | start, s |\n|---|---|---|---|")
    for name, row in rows.items():
        for label in ("onnx", "stablehlo", "timm_onnx"):
            size, start = row[f"{label}_mb"], row[f"{label}_start_seconds"]
            print(f"| {name} | {label} | {size} | {start} |")
    packages = ("jax", "jax2onnx", "onnx", "onnxruntime", "onnxscript", "torch", "timm")
    environment.write_json(RESULT, {**environment.describe(packages), "rows": rows})


if __name__ == "__main__":
    main()
