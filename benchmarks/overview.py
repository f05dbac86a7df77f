"""The README's picture: the block, heat maps of a network trained here, measured speed.

    python -m benchmarks.overview

Draws docs/overview.png from docs/pointing_game.png, which `benchmarks.pointing_game` makes, and
from benchmarks/results.
"""

import json
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image

from benchmarks.records import RESULTS, Record, latest
from benchmarks.report import DOCS
from inceptionnext_jax.explain.fonts import FAINT, INK, PAPER

FIGURE, HEAT_MAPS = DOCS / "overview.png", DOCS / "pointing_game.png"
POINTING_GAME = RESULTS / "cpu" / "pointing_game.json"
SPEED = (0.775, 0.13, 0.215, 0.68)  # left, bottom, width and height in the figure
MODEL, BATCH = "inceptionnext_tiny", 8
TILE, PITCH, MARGIN, ROWS = 224, 234, 26, 4  # of HEAT_MAPS, in pixels
SHOWN = ((0, 0), (0, 1), (0, 3), (0, 4), (1, 3), (1, 4))  # its rows and columns: image, map, …
MODES = (("infer", "inference", "#2563a8"), ("train", "training", "#e08a1e"))
PEERS = {
    "timm eager": "PyTorch (timm), eager",
    "timm channels-last": "PyTorch (timm), channels last",
    "timm torch.compile": "PyTorch (timm), compiled",
    "zeromodels": "zeromodels (Keras)",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


class Branch(NamedTuple):
    """A part of the channels and its convolution (the paper's method section).

    Attributes:
      name: Printed.
      eighths: Share of the channels, in eighths.
      kernel: Rows and columns; None for the identity.
      colour: Colour of its channels and kernel.
    """

    name: str
    eighths: int
    kernel: tuple[int, int] | None
    colour: str


BRANCHES = (
    Branch("identity", 5, None, "#aab2bd"),
    Branch("3 × 3", 1, (3, 3), "#2563a8"),
    Branch("1 × 11", 1, (1, 11), "#e08a1e"),
    Branch("11 × 1", 1, (11, 1), "#3f9b6d"),
)


def main() -> None:
    mpl.use("Agg")
    plt.rcParams |= {"text.color": INK, "axes.labelcolor": INK, "font.size": 11}
    figure = plt.figure(figsize=(16, 6.2), facecolor=PAPER)
    block = (0.01, "Large kernels, split into cheap ones", "InceptionNeXt's block")
    draw_block(_panel(figure, *block, (0.01, 0.03, 0.34, 0.79)))
    hits = json.loads(POINTING_GAME.read_text(encoding="utf-8"))["rows"]["gradcam"]["hits"]
    note = f"Grad-CAM, peak in box: {hits:.1%} of right answers"
    draw_heat_maps(_panel(figure, 0.365, "What a network sees", note, (0.365, 0.03, 0.25, 0.79)))
    records = {mode: _record(mode) for mode, _, _ in MODES}
    axes = _panel(figure, 0.625, "Measured beside its peers", _setting(records), SPEED)
    draw_speed(axes, records)
    figure.savefig(FIGURE, dpi=100, facecolor=PAPER)
    plt.close(figure)
    # Few colours are enough and make the file small.
    picture = Image.open(FIGURE).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(FIGURE, optimize=True)
    print(f"wrote {FIGURE}: {picture.size}, {FIGURE.stat().st_size:,} bytes")


def _panel(
    figure: Any, left: float, title: str, note: str, box: tuple[float, float, float, float]
) -> Axes:
    """Axes without frame at `box`, and a title with a note above."""
    axes: Axes = figure.add_axes(box)
    axes.set_axis_off()
    figure.text(left + 0.01, 0.93, title, fontsize=17, weight="bold", va="center")
    figure.text(left + 0.01, 0.87, note, color=FAINT, va="center")
    return axes


def draw_block(axes: Axes) -> None:
    """InceptionNeXt's block, from the input at the top to the sum at the bottom."""
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    left, width = 10.0, 88.0
    tops = _draw_channels(axes, left, width)
    axes.text(left + width / 2, 97, "C channels", ha="center", va="center", color=FAINT)
    for (name, eighths, kernel, colour), (x, wide) in zip(BRANCHES, tops, strict=True):
        center, share = x + wide / 2, f"{eighths}/8 C"
        if kernel is None:
            _arrow(axes, (center, 87), (center, 42.5))
            _box(axes, center, 66, 30, 9, colour, f"{name}   {share}")
            continue
        _arrow(axes, (center, 87), (center, 76))
        _draw_kernel(axes, center, 66, kernel, colour)
        axes.text(center, 54.5, name, ha="center", va="center", weight="bold", color=colour)
        axes.text(center, 49.7, share, ha="center", va="center", color=FAINT, fontsize=10)
        _arrow(axes, (center, 47), (center, 42.5))
    _draw_channels(axes, left, width, y=38)
    middle = left + width / 2
    axes.text(middle + 3, 35.7, "concat", va="center", color=FAINT)
    _arrow(axes, (middle, 38), (middle, 33.5))
    _box(axes, middle, 29, 42, 8.5, "#e7ebf0", "BatchNorm")
    _arrow(axes, (middle, 24.7), (middle, 20.5))
    _box(axes, middle, 16, 42, 8.5, "#e7ebf0", "MLP:  1×1 · GELU · 1×1")
    _arrow(axes, (middle, 11.7), (middle, 6.2))
    axes.text(middle, 3.3, "+", ha="center", va="center", fontsize=18, weight="bold")
    # The shortcut leaves above the split and enters the sum.
    axes.plot([left, 3, 3, middle - 6], [89.5, 89.5, 3.3, 3.3], color=FAINT, lw=1.4)
    _arrow(axes, (middle - 7, 3.3), (middle - 2.5, 3.3))


def _draw_channels(
    axes: Axes, left: float, width: float, y: float = 87
) -> list[tuple[float, float]]:
    """A bar divided into the branches' channels; returns where each begins and its width."""
    parts, x = [], left
    for branch in BRANCHES:
        part = width * branch.eighths / 8
        axes.add_patch(Rectangle((x, y), part, 5, color=branch.colour, lw=0))
        axes.plot([x, x], [y, y + 5], color=PAPER, lw=2)
        parts.append((x, part))
        x += part
    return parts


def _draw_kernel(
    axes: Axes, x: float, y: float, size: tuple[int, int], colour: str, cells: int = 11
) -> None:
    """The cells of a kernel in a square of `cells` × `cells`."""
    high, wide = 11 / cells, 10 / cells
    for row, column in np.ndindex(cells, cells):
        inside = abs(row - cells // 2) <= size[0] // 2 and abs(column - cells // 2) <= size[1] // 2
        corner = (x + (column - cells / 2) * wide, y + (row - cells / 2) * high)
        face = colour if inside else "#eef1f4"
        axes.add_patch(Rectangle(corner, wide, high, facecolor=face, edgecolor=PAPER, lw=0.8))


def _box(axes: Axes, x: float, y: float, width: float, height: float, face: str, text: str) -> None:
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0,rounding_size=1.5"
    axes.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=face, lw=0, zorder=3)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=12, zorder=4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=11, color=FAINT, lw=1.4, shrinkA=0, shrinkB=0
    )
    axes.add_patch(arrow)


def draw_heat_maps(axes: Axes) -> None:
    """Images and Grad-CAM maps out of the pointing game's figure."""
    page = np.asarray(Image.open(HEAT_MAPS).convert("RGB"))
    top = len(page) - MARGIN - ROWS * PITCH + PITCH - TILE
    gap = np.full((TILE, 8, 3), 255, np.uint8)
    rows = []
    for pair in zip(SHOWN[::2], SHOWN[1::2], strict=True):
        tiles = [_tile(page, top, row, column) for row, column in pair]
        rows += [np.hstack([tiles[0], gap, tiles[1]]), np.full((8, 2 * TILE + 8, 3), 255, np.uint8)]
    axes.imshow(np.vstack(rows[:-1]), interpolation="lanczos")


def _tile(page: np.ndarray, top: int, row: int, column: int) -> np.ndarray:
    y, x = top + row * PITCH, MARGIN + column * PITCH
    return page[y : y + TILE, x : x + TILE]


def draw_speed(axes: Axes, records: dict[str, Record]) -> None:
    """Bars with 95 % intervals: how many times longer each peer takes."""
    axes.set_axis_on()
    y, ticks = 0.0, []
    for mode, title, colour in MODES:
        axes.text(0, y, title, weight="bold", va="center", color=colour, fontsize=12)
        for name, label in PEERS.items():
            ratio = records[mode]["ratios"].get(name)
            if ratio is None:
                continue
            y -= 1
            ticks.append((y, label))
            error = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
            axes.barh(y, ratio["median"], xerr=error, color=colour, ecolor=FAINT, height=0.7)
            spot = (max(ratio["high"], 1) + 0.06, y)
            axes.text(*spot, f"{ratio['median']:.2f}×", va="center")
        y -= 1.4
    axes.set_yticks([height for height, _ in ticks], [label for _, label in ticks])
    axes.axvline(1, color=INK, lw=1, ls=":")
    axes.set_xlim(0, 2.75)
    axes.set_ylim(y + 0.7, 0.6)
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=10, labelcolor=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("CPU time of the peer / of this code")


def _setting(records: dict[str, Record]) -> str:
    case = records["infer"]["case"]
    chips = {record["device"]["cpu"] for record in records.values()}
    where = f"one core of an {', '.join(chips)}, 95 % intervals"
    return f"InceptionNeXt-T, batch {case['batch']}, {case['dtype']}, {where}"


def _record(mode: str) -> Record:
    return next(
        record
        for record in latest(mode)
        if (record["case"]["model"], record["case"]["batch"]) == (MODEL, BATCH)
    )


if __name__ == "__main__":
    main()
