"""Sizes round to the digits printed in the papers, except for rows listed in the documents."""

import math
from pathlib import Path

import jax
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.tables import counted, read_tables
from inceptionnext_jax import create_model, model_info
from tests.models.test_counts import WITH_NORMS

REPRODUCING = Path(__file__).parents[2] / "docs" / "reproducing.md"

PRINTED = [row for row in read_tables() if row.is_known and (row.params or row.macs)]

# Row and printed digits -> ours. docs/reproducing.md lists them, with possible reasons.
UNRECONCILED = {
    ("InceptionNeXt-A", "0.51"): "0.50",
    ("ConvNeXt-B, 384", "45.0"): "45.1",
    ("RSB-ResNet-101", "7.9"): "7.8",
    ("RSB-ResNet-152", "11.6"): "11.5",
    ("ViT-Base/16, 384", "55.4"): "55.5",
    ("DeiT-B, 384", "86"): "87",
    ("DeiT-B, 384", "55.4"): "55.5",
    ("Swin-T", "29"): "28",
    ("Swin-B, 384", "47.0"): "47.1",
    ("T2T-ViT-14", "22"): "21",
    ("EffNet-B4, 380", "4.2"): "4.4",
    ("EffNet-B5, 456", "9.9"): "10.3",
    ("EffNet-B6, 528", "19.0"): "19.1",
    ("EffNet-B7, 600", "37.0"): "37.7",
    ("R-101x3, 384", "204.6"): "204.2",
    ("R-152x4, 480", "840.5"): "839.3",
    ("RegNetY-16G", "16.0"): "15.9",
    ("Depthwise convolution", "2.4"): "2.3",
    ("VanillaNet-13-1.5×†", "48.9"): "49.0",
}


def as_printed(count, unit, printed):
    return f"{count / unit:.{len(printed.partition('.')[2])}f}"


def sizes_in_the_papers_convention(row):
    """With attention's products; for the four-stage InceptionNeXts with norms."""
    params, macs = counted(row)
    return params, WITH_NORMS.get(row.model, macs)


@pytest.mark.parametrize(
    "row", PRINTED, ids=lambda row: f"{row.table} {row.label} {row.params} {row.macs}"
)
def test_sizes_round_to_the_printed_digits(row):
    params, macs = sizes_in_the_papers_convention(row)
    found = {}
    if row.params:
        found[row.params] = as_printed(params, 1e6, row.params)
    if row.macs:
        found[row.macs] = as_printed(macs, 1e9, row.macs)
    assert found == {printed: UNRECONCILED.get((row.label, printed), printed) for printed in found}


def test_every_listed_difference_belongs_to_a_row():
    rows = {(row.label, printed) for row in PRINTED for printed in (row.params, row.macs)}
    assert UNRECONCILED.keys() <= rows


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
