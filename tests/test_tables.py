"""Rows of the papers' tables: each has a network with its accuracy, or a stated reason."""

import sys

import pytest

from benchmarks import tables
from benchmarks.tables import read_tables
from inceptionnext_jax import list_models, model_info

# Networks that the tables name and that are still to come.
PENDING = {
    "focal_tiny", "focal_small", "replknet_31b", "replknet_31b_384",
    "roadmap_08_kernel_5", "roadmap_08_kernel_9", "roadmap_08_kernel_11",
}  # fmt: skip
# Table, row and printed accuracy that no run has reached, by docs/reproducing.md.
MISPRINTED = {("convnext_iso", "ConvNeXt-S (iso.)", "78.7")}
ROWS = {
    "imagenet": 32, "repository": 2, "summary": 3, "configurations": 3, "settings": 5,
    "isotropic": 7, "ablations": 10, "preliminary": 8, "convnext_1k": 20, "convnext_22k": 14,
    "convnext_iso": 3, "roadmap": 15, "kernels": 5, "resnet200": 2, "vanillanet": 11,
    "vanillanet_settings": 9, "ilsvrc": 7,
}  # fmt: skip


def test_no_row_is_missing_or_twice():
    names = [row.table for row in read_tables()]
    assert {name: names.count(name) for name in tables.TITLES} == ROWS
    assert set(names) == set(tables.TITLES)
    keys = [(row.table, row.row, row.pixels, row.note) for row in read_tables()]
    assert len(set(keys)) == len(keys)


def test_cells_are_numbers_or_empty():
    for row in read_tables():
        for cell in (row.pixels, row.params, row.macs, row.top1, row.train, row.infer):
            assert not cell or float(cell) > 0, row


@pytest.mark.parametrize("row", read_tables(), ids=lambda row: f"{row.table} {row.label}")
def test_every_row_has_a_network_or_a_reason(row):
    assert row.source
    if not row.model:
        assert row.note
    elif row.model not in PENDING:
        assert row.model in list_models()


def test_pending_networks_are_not_there_yet():
    """Once they are, they leave the list above, and all checks hold for them."""
    assert not PENDING & set(list_models())
    assert {row.model for row in read_tables()} >= PENDING


@pytest.mark.parametrize(
    "row",
    [row for row in read_tables() if row.top1 and row.is_known],
    ids=lambda row: f"{row.table} {row.label} {row.top1}",
)
def test_every_printed_accuracy_is_among_the_networks_reports(row):
    if (row.table, row.row, row.top1) in MISPRINTED:
        return
    info = model_info(row.model)
    reported = [info.top1, *(report.top1 for report in info.other_reports)]
    assert float(row.top1) in [round(100 * top1, 2) for top1 in reported if top1 is not None]


def test_every_row_without_a_size_has_the_networks_own():
    """So that counts and accuracies belong to the same images."""
    for row in read_tables():
        if row.is_known and not row.pixels:
            assert row.size == 224, row


def test_document_is_current():
    hint = "run `python -m benchmarks.tables --write` and commit docs/tables.md"
    assert tables.DOCUMENT.read_text(encoding="utf-8") == tables.markdown(), hint


def record(model, mode, batch, seconds, dtype="float32", size=224, device="cpu"):
    peers = {
        name: {"seconds": {"median": time}, "device": device} for name, time in seconds.items()
    }
    case = {"model": model, "mode": mode, "batch": batch, "dtype": dtype, "size": size}
    return {"case": case, "peers": peers, "device": {"cpu": "some processor"}}


def test_measured_rows_show_the_largest_batch_and_the_faster_of_timms_layouts():
    small = record("inceptionnext_base", "infer", 1, {"ours": 1.0})
    large = record(
        "inceptionnext_base", "infer", 8,
        {"ours": 2.0, "timm eager": 8.0, "timm channels-last": 4.0},
    )  # fmt: skip
    gpu = record("inceptionnext_base", "infer", 128, {"ours": 0.1}, "bfloat16", device="GPU 1")
    other = record("inceptionnext_base", "infer", 8, {"ours": 2.0}, size=384)
    header, *rows = tables.table("imagenet", [large, small, gpu, other])
    found = {row[header.index("row")]: row for row in rows if row[header.index("pixels")] == "224"}
    base = dict(zip(header, found["InceptionNeXt-B"], strict=True))
    assert base["train here"] == "not run"
    assert base["inference here"] == (
        "4, timm 2 (some processor, batch 8, float32); 1280 (GPU 1, batch 128, bfloat16)"
    )
    assert (base["parameters, M"], base["top-1, %"]) == ("87 (86.67)", "84.0")
    assert dict(zip(header, found["DeiT-S"], strict=True))["inference here"] == "not run"


def test_rows_without_a_network_say_why(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tables", "ilsvrc"])
    tables.main()
    out = capsys.readouterr().out
    assert "none: only a top-5 error, 7.32 % in 2014" in out
    assert "InceptionNeXt" not in out.partition("\n")[0]


def test_wrong_table_ends_with_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tables", "ablation"])
    with pytest.raises(SystemExit) as ended:
        tables.main()
    assert ended.value.code == 2
    assert "error: table 'ablation' is unknown; did you mean ablations?" in capsys.readouterr().err
