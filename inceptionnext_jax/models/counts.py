"""Exact sizes of the package's models at their native resolution, stored in counts.csv.

`python -m benchmarks.zoo` writes the file by tracing; a table of models then needs no tracing.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("counts.csv")
SYSTEMS_FILE = Path(__file__).with_name("system_counts.csv")  # of dense systems


class Counts(NamedTuple):
    """Sizes with 1,000 classes, or a system's own number, and with one image.

    Attributes:
      params: Parameters.
      macs: Multiply-accumulates of convolutions and linear layers.
      activations: Numbers that convolutions, linear layers and attention's products put out.
      macs_of_attention: Multiply-accumulates of queries, keys and values; not in `macs`.
      deploy_params: Parameters of the deployed form where it is another network, else None.
      deploy_macs: Multiply-accumulates of the same.
    """

    params: int | None = None
    macs: int | None = None
    activations: int | None = None
    macs_of_attention: int | None = None
    deploy_params: int | None = None
    deploy_macs: int | None = None


def read_counts(path: Path = FILE) -> dict[str, Counts]:
    """Returns the counts of each model in a file."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["model"]: Counts(
                *(int(row[name]) if row[name] else None for name in Counts._fields)
            )
            for row in csv.DictReader(file)
        }


def write_counts(counts: Mapping[str, Counts], path: Path = FILE) -> None:
    """Writes a file that `read_counts` reads, sorted by name."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", *Counts._fields))
        for name in sorted(counts):
            writer.writerow((name, *("" if n is None else n for n in counts[name])))
