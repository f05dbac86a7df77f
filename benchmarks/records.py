"""Records of measurements, as `run.py` writes them to benchmarks/results."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Record = dict[str, Any]


def latest(*suites: str, folder: Path = RESULTS) -> Iterable[Record]:
    """Yields the last record of each comparison in the given suites, on any device."""
    for suite in suites:
        for file in sorted(folder.glob(f"*/{suite}.jsonl")):
            found = {}
            for line in file.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                case = {**record.get("case", {}), "core": None}  # compare across cores
                key = (json.dumps(case, sort_keys=True), record.get("clock"))
                # A later run of only some peers must not hide the others.
                if key in found:
                    record["peers"] = found[key]["peers"] | record["peers"]
                    record["ratios"] = found[key]["ratios"] | record["ratios"]
                found[key] = record
            yield from found.values()


def device(record: Record) -> str:
    """Returns the name of the processor or accelerator that a comparison ran on."""
    for peer in record["peers"].values():
        if peer.get("device", "cpu").lower() != "cpu":
            return str(peer["device"])
    return str(record["device"]["cpu"])


def speed(record: Record, peer: str) -> float:
    """Returns the images per second of a peer, from the median of its rounds."""
    return float(record["case"]["batch"] / record["peers"][peer]["seconds"]["median"])
