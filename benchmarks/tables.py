"""Prints the tables of classification networks as the sources print them, beside what is ours.

python -m benchmarks.tables [TABLE …]

`tables.csv` holds the rows as printed. Columns "(ours)" are this code's parameters and
multiply-accumulates, with attention's products. "Measured" are images per second of this code in
the records of benchmarks/results, the highest of a network at this size and mode in float32, with
the device and batch; "not run" where there is none.
"""

import argparse
import csv
from pathlib import Path
from typing import Any, NamedTuple

import inceptionnext_jax as inx
from benchmarks.report import latest
from inceptionnext_jax.cli.parser import Parser
from inceptionnext_jax.models.macs import count_macs
from inceptionnext_jax.models.network import with_options

FILE = Path(__file__).parent / "tables.csv"
TITLES = {
    "inceptionnext": "InceptionNeXt, Table 2: ImageNet-1K; throughputs of an A100, batch 128, FP32",
    "isotropic": "InceptionNeXt, Table 3: isotropic networks",
    "ablations": "InceptionNeXt, Table 4: ablations; throughputs as in Table 2",
    "preliminary": "InceptionNeXt, Table 10: kernels in ConvNeXt-T; throughputs as in Table 2",
    "configurations": "InceptionNeXt, configurations",
    "convnext": "ConvNeXt, Table 1: ImageNet-1K",
    "convnext_22k": "ConvNeXt, Table 1: ImageNet-22K, then ImageNet-1K",
    "repositories": "The authors' repositories, where the papers' tables have no such row",
}
_COLUMNS = (
    "row", "network", "pixels", "M", "(ours)", "G", "(ours)", "top-1 %", "train/s", "infer/s",
    "measured train/s", "measured infer/s",
)  # fmt: skip


class Row(NamedTuple):
    """A row of a table, each figure as it is printed ("" where there is none).

    Attributes:
      table: A key of TITLES.
      row: Its name in the table.
      network: The name of our network, or "".
      reason: Why there is none.
      pixels: Side of the image.
      params: Millions of parameters.
      macs: Billions of multiply-accumulates.
      train: Images per second in training.
      inference: Images per second in inference.
      top1: Accuracy on ImageNet-1K in per cent, as reported.
    """

    table: str
    row: str
    network: str
    reason: str
    pixels: int
    params: str
    macs: str
    train: str
    inference: str
    top1: str


def read_rows() -> list[Row]:
    """Returns the rows of all tables, in the order of print."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [Row(**{**line, "pixels": int(line["pixels"])}) for line in csv.DictReader(file)]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", type=_known, help=f"of {', '.join(TITLES)}"
    )
    chosen = parser.parse_args(argv).tables or list(TITLES)
    rows, measured = read_rows(), _measured()
    for table in chosen:
        print(f"## {TITLES[table]}\n")
        print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
        for row in rows:
            if row.table == table:
                print(f"| {' | '.join(_cells(row, measured))} |")
        print()


def _known(name: str) -> str:
    if name not in TITLES:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(TITLES)}")
    return name


def _cells(row: Row, measured: dict[Any, str]) -> list[str]:
    ours = ["", ""] if not row.network else list(counted(row))
    speeds = [
        measured.get((row.network, row.pixels, mode), "not run") if row.network else row.reason
        for mode in ("train", "infer")
    ]
    sizes = [row.params, ours[0], row.macs, ours[1]]
    return [
        row.row,
        row.network,
        str(row.pixels),
        *sizes,
        row.top1,
        row.train,
        row.inference,
        *speeds,
    ]


def counted(row: Row) -> tuple[str, str]:
    """Returns our millions of parameters and billions of MACs, to as many digits as printed."""
    info = inx.model_info(row.network)
    macs = (info.macs or 0) + (info.macs_of_attention or 0)
    if row.pixels != info.input_size:
        model = with_options(inx.create_model(row.network), scan=True)
        macs = count_macs(model, row.pixels, attention=True)
    return _as_printed(info.params or 0, 1e6, row.params), _as_printed(macs, 1e9, row.macs)


def _as_printed(count: int, unit: float, printed: str) -> str:
    return f"{count / unit:.{len(printed.partition('.')[2])}f}"


def _measured() -> dict[tuple[str, int, str], str]:
    """Returns {(network, pixels, mode): images per second of this code, device and batch}."""
    best: dict[tuple[str, int, str], tuple[float, str]] = {}
    for record in latest("infer", "train", "figure"):
        case, ours = record["case"], record["peers"].get("ours", {})
        if case.get("dtype") != "float32" or "seconds" not in ours:
            continue
        key = (case["model"], case["size"], case["mode"])
        speed = case["batch"] / ours["seconds"]["median"]
        device = record["device"].get("gpu") or record["device"]["cpu"]
        cores = "" if case.get("core") is None else ", one core"
        text = f"{speed:.1f} ({device}{cores}, batch {case['batch']})"
        best[key] = max(best.get(key, (0.0, "")), (speed, text))
    return {key: text for key, (_, text) in best.items()}


if __name__ == "__main__":
    main()
