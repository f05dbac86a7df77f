"""The tables of the papers, each row as printed, as counted here and as measured here.

python -m benchmarks.tables
python -m benchmarks.tables ablations preliminary
python -m benchmarks.tables --write

benchmarks/tables.csv has the rows: only what the slides, supplements and repositories named in its
column `source` print (of the tables, those that name networks for classification). Parameters are
in millions, multiply-accumulates in billions, accuracies in %, throughputs in images/s. A row names
the network of `create_model`, or its note says why there is none.
"""

import csv
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import inceptionnext_jax as inx
from benchmarks.environment import cpu_model
from benchmarks.records import Record, device, latest, speed
from inceptionnext_jax.cli.parser import Parser
from inceptionnext_jax.cli.table import print_table
from inceptionnext_jax.errors import suggestion
from inceptionnext_jax.models.macs import count_macs
from inceptionnext_jax.models.network import with_options

FILE = Path(__file__).with_name("tables.csv")
DOCUMENT = Path(__file__).parent.parent / "docs" / "tables.md"
TITLES = {
    "imagenet": "InceptionNeXt: ImageNet-1K",
    "repository": "InceptionNeXt: further rows of the authors' repository",
    "summary": "InceptionNeXt: rows that a summary repeats",
    "configurations": "InceptionNeXt: configurations",
    "settings": "InceptionNeXt: settings of training, by network",
    "isotropic": "InceptionNeXt: isotropic networks",
    "ablations": "InceptionNeXt: ablations",
    "preliminary": "InceptionNeXt: preliminary study of ConvNeXt-T (kernel, share of channels)",
    "convnext_1k": "ConvNeXt: trained on ImageNet-1K",
    "convnext_22k": "ConvNeXt: pre-trained on ImageNet-22K",
    "convnext_iso": "ConvNeXt: isotropic networks of the authors' repository",
    "roadmap": "ConvNeXt: from ResNet-50 to ConvNeXt-T",
    "kernels": "ConvNeXt: kernel sizes on the way there",
    "resnet200": "ConvNeXt: the regime of ResNet-200",
    "vanillanet": "VanillaNet",
    "vanillanet_settings": "VanillaNet: architectures and settings of training, by network",
    "ilsvrc": "Error rates of 2012 to 2014",
}
# Suites of `run.py` with comparisons of one network and one batch.
SUITES = ("figure", "infer", "train")
NOT_RUN = "not run"
_HEADER = (
    "row", "network", "pixels", "parameters, M", "MACs, G", "top-1, %", "train", "inference",
    "train here", "inference here", "source",
)  # fmt: skip
_INTRODUCTION = """\
# The papers' tables

Every row of the sources' tables that names a network for classification. Written by
`python -m benchmarks.tables --write` from `benchmarks/tables.csv`, the exact counts
([models.md](models.md)) and `benchmarks/results/`; without `--write` it prints the tables with what
was measured on the machine that it runs on.

Parameters, MACs, accuracies and throughputs (images/s) are as printed. In parentheses stand our
counts: multiply-accumulates of convolutions, linear layers and attention's products at the row's
size, VanillaNet's of the deployed form. [reproducing.md](reproducing.md#printed-sizes) lists those
that round to other digits, and why. The columns "here" were measured with this code, beside the
faster of timm's layouts; "not run" says that they were not. The sources are slides that reprint the
tables of InceptionNeXt and of ConvNeXt, a summary of the former, the supplements of InceptionNeXt
and VanillaNet, and the authors' repositories; accuracies that ConvNeXt's slides leave out are those
of its Table 10. Tables of segmentation and detection are in [segmentation.md](segmentation.md) and
[reproducing.md](reproducing.md#object-detection).
"""


class Row(NamedTuple):
    """A row of a table, as printed: text, empty where the source prints nothing.

    Attributes:
      table: A key of `TITLES`.
      row: Its label; unique in the table together with `pixels`.
      source: The document that prints it.
      pixels: Height and width of the images.
      params: Millions of parameters.
      macs: Billions of multiply-accumulates.
      top1: Accuracy on ImageNet-1K, %.
      train: Images per second in training.
      infer: Images per second in inference.
      model: Name of the network in `create_model`.
      note: Reason why there is no network, or a remark.
    """

    table: str
    row: str
    source: str
    pixels: str
    params: str
    macs: str
    top1: str
    train: str
    infer: str
    model: str
    note: str

    @property
    def is_known(self) -> bool:
        """Whether this version of the package has the network."""
        return self.model in inx.list_models()

    @property
    def size(self) -> int:
        """Pixels, printed or the network's own."""
        return int(self.pixels) if self.pixels else inx.model_info(self.model).input_size

    @property
    def label(self) -> str:
        """The row's label, with the size where that is unusual."""
        return self.row if self.pixels in ("", "224") else f"{self.row}, {self.pixels}"


@functools.cache
def read_tables() -> tuple[Row, ...]:
    """Returns the rows of all tables, in their order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(Row(**row) for row in csv.DictReader(file))


def counted(row: Row) -> tuple[int, int]:
    """Returns parameters and multiply-accumulates of a row's network at the row's size."""
    info = inx.model_info(row.model)
    if info.deploy_params and info.deploy_macs:
        return info.deploy_params, info.deploy_macs
    assert info.params is not None
    return info.params, _macs(row.model, row.size)


@functools.cache
def _macs(name: str, size: int) -> int:
    info = inx.model_info(name)
    if size == info.input_size and info.macs is not None:
        return info.macs + (info.macs_of_attention or 0)
    # Scanned, it is traced faster.
    return count_macs(with_options(inx.create_model(name), scan=True), size, attention=True)


def this_device() -> str:
    """Returns the name of this machine's accelerator, or of its processor."""
    import jax

    kind = str(jax.devices()[0].device_kind)
    return cpu_model() if kind.lower() == "cpu" else kind


def table(name: str, records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Returns the cells of a table, its header first; measurements are those in `records`."""
    records = list(records)
    rows = [row for row in read_tables() if row.table == name]
    return [_HEADER, *(_cells(row, records) for row in rows)]


def _cells(row: Row, records: Sequence[Record]) -> tuple[str, ...]:
    params, macs = row.params, row.macs
    if row.is_known:
        counts = counted(row)
        params = f"{params} ({counts[0] / 1e6:.2f})".strip()
        macs = f"{macs} ({counts[1] / 1e9:.{3 if counts[1] < 1e10 else 2}f})".strip()
    label = f"{row.row} ({row.note})" if row.note and row.model else row.row
    reason = "not built yet" if row.model else row.note
    network = row.model if row.is_known else f"none: {reason}"
    return (
        label, network, row.pixels, params, macs, row.top1, row.train,
        row.infer, *(_measured(row, mode, records) for mode in ("train", "infer")), row.source,
    )  # fmt: skip


def _measured(row: Row, mode: str, records: Sequence[Record]) -> str:
    """Returns the speed of the largest batch that was measured, per device and dtype."""
    if not row.is_known:
        return ""
    wanted, found = (row.model, row.size, mode), dict[tuple[str, str], Record]()
    for record in records:
        case = record["case"]
        if (case["model"], case["size"], case["mode"]) != wanted:
            continue
        key = (device(record), case["dtype"])
        if key not in found or case["batch"] >= found[key]["case"]["batch"]:
            found[key] = record
    return "; ".join(map(_speeds, found.values())) or NOT_RUN


def _speeds(record: Record) -> str:
    case = record["case"]
    timm = [speed(record, peer) for peer in record["peers"] if peer.startswith("timm ")]
    beside = f", timm {max(timm):.4g}" if timm else ""
    where = f"{device(record)}, batch {case['batch']}, {case['dtype']}"
    return f"{speed(record, 'ours'):.4g}{beside} ({where})"


def markdown() -> str:
    """Returns the document: all tables, with the measurements of all machines."""
    records = list(latest(*SUITES))
    sections = []
    for name, title in TITLES.items():
        header, *rows = table(name, records)
        lines = [header, ("---",) * len(header), *rows]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        sections.append(f"\n## {title}\n\n{text}")
    return _INTRODUCTION + "".join(sections)


def main() -> None:
    parser = Parser(
        prog="python -m benchmarks.tables",
        description="Prints the papers' tables as printed, as counted here (in parentheses) and, "
        "where this machine has measured it (benchmarks/results), with its images/s.",
        epilog="example: python -m benchmarks.tables ablations preliminary",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"any of {', '.join(TITLES)} (default: all)"
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/tables.md, with all machines, instead"
    )
    args = parser.parse_args()
    for name in args.tables:
        if name not in TITLES:
            near = suggestion(name, TITLES) or f", expected one of {', '.join(TITLES)}"
            parser.error(f"table {name!r} is unknown{near}")
    if args.write:
        DOCUMENT.write_text(markdown(), encoding="utf-8")
        return
    here = this_device()
    records = [record for record in latest(*SUITES) if device(record) == here]
    for name in args.tables or TITLES:
        print(f"{TITLES[name]}\n")
        print_table(table(name, records), right=range(2, 8))
        print()


if __name__ == "__main__":
    main()
