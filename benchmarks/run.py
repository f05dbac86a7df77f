"""Speed and memory compared with other libraries, on this machine.

python -m benchmarks.run --suite=infer,train
python -m benchmarks.run --quick

Each peer has a process of its own; they take turns, in reversed order every other round, so that a
busy machine slows all of them alike. Before anything is timed, peers with common weights must
agree: logits to 1e-3 of their scale, the loss of the first step to 1e-4. On a CPU a process is
pinned to one core and its CPU time is counted, which neighbours hardly affect; `--cores=all` allows
all cores and measures wall time, as do runs on a GPU. One line of JSON per comparison is appended
to benchmarks/results/DEVICE/SUITE.jsonl; `benchmarks/report.py` fills docs/performance.md from it.

Needs jax, flax, optax, torch and timm; includes zeromodels, keras, onnxruntime and openvino if they
are installed.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import environment, programs
from benchmarks.peers import Case

RESULTS = Path(__file__).parent / "results"
OURS = "ours"
TORCH = ("timm eager", "timm channels-last")
LIBRARIES = ("zeromodels", "keras.applications")
TRANSFORMERS = ("transformers", "transformers channels-last")
DEPLOYED = ("ours, deployed", "onnxruntime", "openvino")
# Suite -> comparisons as (model, mode, batches, peers), with the libraries that have the model.
SUITES: dict[str, list[tuple[str, str, tuple[int, ...], tuple[str, ...]]]] = {
    "infer": [
        (
            "inceptionnext_tiny", "infer", (1, 8),
            ("ours, grouped convolutions", *TORCH, "timm torch.compile", "zeromodels", *DEPLOYED),
        ),
        ("convnext_tiny", "infer", (1, 8), (*TORCH, *LIBRARIES, *DEPLOYED)),
        ("vanillanet_6", "infer", (8,), TORCH),
    ],
    "train": [
        (
            "inceptionnext_tiny", "train", (8,),
            ("ours, grouped convolutions", *TORCH, "timm torch.compile", "zeromodels"),
        ),
        ("convnext_tiny", "train", (8,), (*TORCH, *LIBRARIES)),
    ],
    # A trained image needs another one beside it: BatchNorm of the map pooled to 1×1.
    "segmentation": [
        ("upernet_convnext_tiny", "infer", (1,), TRANSFORMERS),
        ("upernet_convnext_tiny", "train", (2,), TRANSFORMERS),
    ],
    # Throughputs for the figure of accuracy and speed.
    "figure": [
        (name, "infer", (8,), ("timm channels-last",))
        for name in (
            "inceptionnext_atto", "inceptionnext_tiny", "inceptionnext_small",
            "inceptionnext_base", "convnext_tiny", "convnext_small", "convnext_base",
            "resnet50", "deit_small", "swin_tiny",
        )
    ],
}  # fmt: skip
PACKAGES = {
    **dict.fromkeys(("transformers", "transformers channels-last"), ("transformers",)),
    "zeromodels": ("zeromodels", "keras"),
    "keras.applications": ("keras",),
    "onnxruntime": ("onnxruntime", "onnxscript"),
    "openvino": ("openvino", "onnxscript"),
}
QUICK = [("inceptionnext_atto", "infer", (1,), ("ours, grouped convolutions", "timm eager"))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.run --suite=infer --models='vanillanet*' --rounds=5",
    )
    names = [*SUITES, *programs.SUITES]
    parser.add_argument(
        "--suite", default="all", help=f"any of {', '.join(names)}, separated by commas; or all"
    )
    parser.add_argument("--models", default="*", help="only matching networks, e.g. convnext_*")
    parser.add_argument("--peers", default="*", help="only matching peers, e.g. 'timm *'")
    parser.add_argument("--batch", type=int, help="replaces the suites' batch sizes")
    parser.add_argument("--size", type=int, help="pixels on a side (default: 224; UperNet: 512)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--cores", choices=("one", "all"), default="one")
    parser.add_argument("--quick", action="store_true", help="a smoke test of one minute")
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder of results")
    args = parser.parse_args()
    wanted = names if args.suite == "all" else args.suite.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"suite {', '.join(sorted(unknown))} is unknown, expected {', '.join(names)}")
    if args.quick:
        quick(args)
        return
    for suite in wanted:
        if suite in programs.SUITES:
            write(args, suite, programs.run(suite, args.core))
            continue
        for model, mode, batches, peers in SUITES[suite]:
            if not fits(model, args.models):
                continue
            chosen = [peer for peer in peers if fits(peer, args.peers)]
            for batch in (args.batch,) if args.batch else batches:
                core = args.core if args.cores == "one" and not on_gpu() else None
                case = Case(OURS, model, mode, batch, dtype=args.dtype, core=core)
                size = args.size or (512 if case.is_system else case.size)
                case = dataclasses.replace(case, size=size)
                write(args, suite, compare(case, chosen, args.rounds))


def quick(args: argparse.Namespace) -> None:
    for model, mode, (batch,), peers in QUICK:
        case = Case(OURS, model, mode, batch, size=96, core=args.core)
        show(compare(case, peers, rounds=3))


def fits(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern.replace("*", ".*"), name) is not None


def on_gpu() -> bool:
    return Path("/dev/nvidia0").exists()


def compare(case: Case, peers: Sequence[str], rounds: int) -> dict[str, Any]:
    """Returns the record of one comparison: each peer's seconds, and its ratio to ours."""
    names = [OURS]
    for peer in peers:
        if lacking := missing(peer):
            print(
                f"{peer}: left out, because {', '.join(lacking)} is not installed", file=sys.stderr
            )
        else:
            names.append(peer)
    with tempfile.TemporaryDirectory() as folder:
        case = dataclasses.replace(case, folder=folder)
        subprocess.run(_command(dataclasses.replace(case, peer="weights")), check=True)
        workers: dict[str, Worker] = {}
        try:
            for name in names:
                say(f"{case.model} {case.mode} batch {case.batch}: {name} starts")
                try:
                    workers[name] = Worker(dataclasses.replace(case, peer=name))
                except PeerError as error:
                    if name == OURS:
                        raise SystemExit(str(error)) from error
                    say(f"{name}: left out, because {error}")
            agree(workers, case.mode)
            seconds = take_turns(workers, rounds, case.core is not None)
        finally:
            for worker in workers.values():
                worker.stop()
    ours = seconds[OURS]
    details = dataclasses.asdict(case)
    del details["folder"], details["peer"]
    return {
        **environment.describe(("numpy",)),
        "case": details,
        "clock": "CPU time of one pinned core" if case.core is not None else "wall time",
        "rounds": rounds,
        "peers": {
            name: {"seconds": spread(seconds[name]), **worker.info, "peak_rss": worker.peak_rss}
            for name, worker in workers.items()
        },
        "ratios": {
            name: spread(np.divide(times, ours), interval=True)
            for name, times in seconds.items()
            if name != OURS
        },
    }


def missing(peer: str) -> list[str]:
    """Returns the packages that the peer needs but this environment lacks."""
    found = []
    for name in PACKAGES.get(peer, ()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            continue
        found.append(name)
    return found


class PeerError(Exception):
    """Raised when a peer's process has ended by itself."""


class Worker:
    """A peer's process."""

    def __init__(self, case: Case) -> None:
        self.process = subprocess.Popen(
            _command(case), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_env(case)
        )
        ready = json.loads(self._line())
        self.info, self.result = ready["info"], ready["result"]
        self.peak_rss = 0

    def time(self, calls: int) -> tuple[float, float]:
        """Returns the CPU and wall seconds of that many calls."""
        assert self.process.stdin is not None
        print(calls, file=self.process.stdin, flush=True)
        cpu, wall = json.loads(self._line())
        return cpu, wall

    def stop(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
            self.peak_rss = int(peak[1]) * 1024
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"it ended with code {self.process.wait()}, see above")
        return line


def agree(workers: dict[str, Worker], mode: str) -> None:
    """Ends the comparison if a peer with the common weights gets other results."""
    expected = np.asarray(workers[OURS].result)
    limit = 1e-3 if mode == "infer" else 1e-4
    for name, worker in workers.items():
        if worker.result is None:
            continue  # it has its own weights
        error = np.abs(np.asarray(worker.result) - expected).max() / np.abs(expected).max()
        worker.info["difference"] = float(f"{error:.2g}")
        if not error < limit:
            raise SystemExit(
                f"{name} and ours differ by {error:.2g} of the scale, expected less than {limit:g}"
            )


def take_turns(workers: dict[str, Worker], rounds: int, cpu: bool) -> dict[str, list[float]]:
    """Returns the seconds per call of each peer in each round."""
    # A round takes each peer about a second, so that short calls are measured accurately.
    calls = {}
    for name, worker in workers.items():
        worker.time(1)
        calls[name] = max(1, round(1 / max(worker.time(1)[not cpu], 1e-4)))
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    start = time.monotonic()
    for number in range(rounds):
        for name in list(workers)[:: -1 if number % 2 else 1]:
            seconds[name].append(workers[name].time(calls[name])[not cpu] / calls[name])
        left = (time.monotonic() - start) / (number + 1) * (rounds - number - 1)
        say(f"round {number + 1} of {rounds}, {left:.0f} s left")
    return seconds


def spread(values: Sequence[float], interval: bool = False) -> dict[str, float]:
    """Returns the median and quartiles, with interval also the median's 95 % bootstrap interval."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    found = {"median": median, "q1": q1, "q3": q3}
    if interval:
        draws = np.random.default_rng(0).choice(values, (2000, len(values)))
        found["low"], found["high"] = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {key: float(f"{value:.4g}") for key, value in found.items()}


def write(args: argparse.Namespace, suite: str, record: dict[str, Any]) -> None:
    record = {"suite": suite, **record}
    device = "cpu"
    for peer in record.get("peers", {}).values():
        if peer.get("device", "cpu").lower() != "cpu":
            device = re.sub(r"[^a-z0-9]+", "_", peer["device"].lower())
    file = args.to / device / f"{suite}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")
    show(record)


def show(record: dict[str, Any]) -> None:
    if "peers" not in record:
        print(json.dumps(record["results"], indent=1))
        return
    case = record["case"]
    print(
        f"{case['model']} {case['mode']} batch {case['batch']} {case['dtype']}, {record['clock']}"
    )
    for name, peer in record["peers"].items():
        ratio = record["ratios"].get(name)
        text = f"ours {ratio['median']:.2f}× as fast" if ratio else ""
        if ratio:
            text += f" ({ratio['low']:.2f} to {ratio['high']:.2f})"
        print(f"  {name:<28} {1e3 * peer['seconds']['median']:9.1f} ms  {text}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _command(case: Case) -> list[str]:
    return [sys.executable, "-m", "benchmarks.peers", json.dumps(dataclasses.asdict(case))]


def _env(case: Case) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1"} if case.core is not None else {}
    return {**os.environ, **threads, "KERAS_BACKEND": "jax"}


if __name__ == "__main__":
    main()
