"""Sizes round to the digits printed in the papers, except for rows listed in the documents."""

import math
from pathlib import Path

import jax
import pytest
from flax.traverse_util import flatten_dict

from benchmarks import tables
from benchmarks.tables import TITLES, main, read_rows
from inceptionnext_jax import create_model, list_models, model_info
from inceptionnext_jax.models.macs import count_macs
from tests.models.test_counts import WITH_NORMS, traceable

REPRODUCING = Path(__file__).parents[2] / "docs" / "reproducing.md"

# Table, row, pixels -> its name in docs/reproducing.md, where that is another than the row's.
LABELS = {
    ("inceptionnext", "RSB-ResNet-101", 224): "ResNet-101",
    ("inceptionnext", "RSB-ResNet-152", 224): "ResNet-152",
    ("inceptionnext", "ViT-Base/16", 384): "ViT-B, 384",
    ("inceptionnext", "DeiT-B", 384): "DeiT-B, 384",
    ("inceptionnext", "ConvNeXt-B", 384): "ConvNeXt-B, 384, of ImageNet-1K",
    ("convnext", "ConvNeXt-B", 384): "ConvNeXt-B, 384, of ImageNet-1K",
    ("convnext", "RegNetY-16G", 224): "RegNetY-16G (ConvNeXt's table)",
    ("convnext_22k", "Swin-B", 384): "Swin-B, 384, of ImageNet-22K",
}
ROWS = read_rows()
NETWORKS = [row for row in ROWS if row.network]


def label_of(row):
    return LABELS.get((row.table, row.row, row.pixels), row.row)


# Row and printed digits -> ours. docs/reproducing.md lists them, with possible reasons.
UNRECONCILED = {
    ("InceptionNeXt-A", "0.51"): "0.50",
    ("ConvNeXt-B, 384, of ImageNet-1K", "45.0"): "45.1",
    ("ResNet-101", "7.9"): "7.8",
    ("ResNet-152", "11.6"): "11.5",
    ("ViT-B, 384", "55.4"): "55.5",
    ("DeiT-B, 384", "86"): "87",
    ("DeiT-B, 384", "55.4"): "55.5",
    ("Swin-T", "29"): "28",
    ("Swin-B, 384, of ImageNet-22K", "47.0"): "47.1",
    ("T2T-ViT-14", "22"): "21",
    ("EffNet-B4", "4.2"): "4.4",
    ("EffNet-B5", "9.9"): "10.3",
    ("EffNet-B6", "19.0"): "19.1",
    ("EffNet-B7", "37.0"): "37.7",
    ("R-101x3", "204.6"): "204.2",
    ("R-152x4", "840.5"): "839.3",
    ("RegNetY-16G (ConvNeXt's table)", "16.0"): "15.9",
}


def as_printed(count, unit, printed):
    return f"{count / unit:.{len(printed.partition('.')[2])}f}"


def macs_in_the_papers_convention(name, size):
    """With attention's products; for the four-stage InceptionNeXts with norms."""
    info = model_info(name)
    if size != info.input_size:
        return count_macs(traceable(name), size, attention=True)
    return WITH_NORMS.get(name, info.macs + info.macs_of_attention)


def test_every_row_of_the_tables_has_a_network_or_a_reason():
    assert {row.table for row in ROWS} == TITLES.keys()
    for row in ROWS:
        assert bool(row.network) != bool(row.reason), row
        assert not row.network or row.network in list_models(), row


@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: f"{row.table} {row.row} {row.pixels}")
def test_sizes_round_to_the_printed_digits(row):
    macs = macs_in_the_papers_convention(row.network, row.pixels)
    found = {
        row.params: as_printed(model_info(row.network).params, 1e6, row.params),
        row.macs: as_printed(macs, 1e9, row.macs),
    }
    expected = {printed: UNRECONCILED.get((label_of(row), printed), printed) for printed in found}
    assert found == expected


@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: f"{row.table} {row.row} {row.pixels}")
def test_printed_accuracies_are_among_the_models_reports(row):
    info = model_info(row.network)
    reported = {info.top1, *(report.top1 for report in info.other_reports)}
    assert not row.top1 or float(row.top1) in {round(100 * top1, 1) for top1 in reported}


def test_tables_are_printed_with_counts_and_what_was_not_run(capsys, monkeypatch):
    monkeypatch.setattr(tables, "latest", lambda *suites: [])
    main(["preliminary"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("## InceptionNeXt, Table 10")
    row = next(line for line in lines if "3×3 of 1/4" in line)
    assert row == (
        "| 3×3 of 1/4 | convnext_tiny_k3_par4 | 224 | 28.3 | 28.3 | 4.4 | 4.4 | 81.3 | 871 | 2808 "
        "| not run | not run |"
    )
    with pytest.raises(SystemExit, match="2"):
        main(["preliminray"])
    assert "'preliminray' is not one of inceptionnext, isotropic" in capsys.readouterr().err


@pytest.mark.parametrize(("row", "ours"), UNRECONCILED.items())
def test_differences_from_printed_sizes_are_documented(row, ours):
    label, printed = row
    assert f"| {label} | {printed} | {ours} |" in REPRODUCING.read_text()


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("inceptionnext_tiny", lambda C: (2 * 11 + 9) * C // 8),
        ("inceptionnext_tiny_band7", lambda C: (2 * 7 + 9) * C // 8),
        ("convnext_tiny", lambda C: 7 * 7 * C),
        ("convnext_tiny_k3_par4", lambda C: 3 * 3 * C // 4),
    ],
)
def test_mixers_have_the_complexity_of_table_1(name, weights):
    """Weights without biases, and as many multiply-accumulates for each position."""
    model = create_model(name)
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    params = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x)["params"])
    kernels = [
        (path[:2], leaf.shape) for path, leaf in params.items()
        if path[-1] == "kernel" and path[1].startswith("blocks") and "mlp" not in path
    ]  # fmt: skip
    macs = model_info(name).macs
    for stage, (depth, C) in enumerate(zip((3, 3, 9, 3), (96, 192, 384, 768), strict=True)):
        for block in range(depth):
            module = (f"stages_{stage}", f"blocks_{block}")
            found = sum(math.prod(shape) for path, shape in kernels if path == module)
            assert found == weights(C)
            macs -= found * (56 >> stage) ** 2
    # The rest does not depend on the mixer.
    mixerless = {"inceptionnext": 4_180_322_304, "convnext": 4_350_425_088}
    assert macs == mixerless[name.partition("_")[0]]
