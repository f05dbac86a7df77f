"""Tables and pictures of docs/performance.md, made from benchmarks/results.

python -m benchmarks.report

Replaces the text between the markers in the document; the rest is written by hand.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

import inceptionnext_jax as inx
from benchmarks.records import Record, latest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FAMILIES = {
    "inceptionnext": ("InceptionNeXt", "C0", "o"),
    "convnext": ("ConvNeXt", "C1", "s"),
    "vanillanet": ("VanillaNet", "C2", "D"),
    "": ("others", "C7", "^"),
}


def main() -> None:
    mpl.use("Agg")
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    for name, body in sections().items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, b=body: m[1] + b + m[2], text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(
                f"docs/performance.md has {count} sections marked {name!r}, expected 1"
            )
    (DOCS / "performance.md").write_text(text, encoding="utf-8")
    records = list(latest("infer", "train"))
    draw_ratios(records, DOCS / "performance_ratios.png")
    draw_accuracy(list(latest("figure", "infer")), DOCS / "performance_accuracy.png")
    draw_roofline([*records, *latest("figure")], DOCS / "performance_roofline.png")


def sections() -> dict[str, str]:
    """Returns the Markdown of each marked section."""
    return {
        "peers": "".join(_peer_table(r) for r in latest("infer", "train", "segmentation")),
        "mixer": "".join(_mixer_table(record["results"]) for record in latest("mixer")),
        "detection": "".join(
            (
                *map(_detection_tables, latest("detection")),
                *map(_detection_report, latest("detection_report")),
            )
        ),
        "programs": _program_table(),
    }


def _peer_table(record: Record) -> str:
    case, device = record["case"], record["device"]["cpu"]
    ours = record["peers"]["ours"]["seconds"]["median"]
    speed = f"{case['batch'] / ours:.1f} images/s"
    lines = [
        f"\n**{case['model']}, {case['mode']}, batch {case['batch']}, {case['dtype']}** "
        f"({device}, {record['clock']}, {record['rounds']} rounds; ours {speed})\n\n",
        "| peer | ms | ours is faster by (95 % interval) |\n|---|---|---|\n",
    ]
    for name, peer in record["peers"].items():
        ratio = record["ratios"].get(name)
        text = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""
        lines.append(f"| {name} | {1e3 * peer['seconds']['median']:.1f} | {text} |\n")
    return "".join(lines)


def _detection_tables(record: Record) -> str:
    """Parts of each network at each size, and the memory of a step by form of RoIAlign."""
    results, device = record["results"], record["device"]["cpu"]
    lines = []
    for case, found in results.items():
        if not isinstance(found, dict) or "inference" not in found:
            continue
        made = f"{found['detections']} detections"
        if "proposals" in found:
            made = f"{found['proposals']} proposals, {made}"
        lines += [
            f"\n**{case}** ({device}, one core, {results['unit']}; {made})\n\n",
            "| part | inference | share | training step | share |\n|---|---|---|---|---|\n",
        ]
        for name in dict.fromkeys((*found["inference"], *found["training"])):
            cells = []
            for mode in ("inference", "training"):
                part = found[mode].get(name)
                cells += [f"{part['seconds']:.3g} s", f"{part['share']:.1%}"] if part else ["", ""]
            lines.append(f"| {name} | {' | '.join(cells)} |\n")
        others = "; ".join(f"{twin}: {_twin(times)}" for twin, times in found["twins"].items())
        lines.append(f"\nTwins: {others}.\n")
    if memory := results.get("memory"):
        of_forms = ", ".join(
            f"{size / 2**30:.2f} GiB with RoIAlign's form `{form}`"
            for form, size in memory["temporary_bytes"].items()
        )
        height, width = memory["size"]
        lines.append(
            f"\nTemporaries of a training step of {memory['model']}, batch {memory['batch']}, "
            f"{height} × {width}, float32, by XLA's account: {of_forms}.\n"
        )
    return "".join(lines)


def _detection_report(record: Record) -> str:
    found = record["results"]
    mib = {name: found[name] / 2**20 for name in ("bytes_before", "bytes_at_most")}
    return (
        f"\nScores of {found['images']:,} images with {found['detections']:,} detections: "
        f"{found['bbox_seconds']} s for boxes, {found['segm_seconds']} s for masks; the process "
        f"has {mib['bytes_before']:.0f} MiB before, detections and annotations included, and "
        f"{mib['bytes_at_most']:.0f} MiB at most.\n"
    )


def _twin(times: Any) -> str:
    return times if isinstance(times, str) else ", ".join(f"{k} {v}" for k, v in times.items())


def _mixer_table(results: Record) -> str:
    lines = [
        "\n| form | InceptionNeXt's mixer: forward, both | 7×7: forward, both |\n|---|---|---|\n"
    ]
    for impl in results["inception"]["blocks"]:
        cells = []
        for kind in ("inception", "7x7"):
            ms, times = (results[kind][key][impl] for key in ("blocks", "speed_up_over_conv"))
            cells.append(f"{ms[0]:.0f}, {ms[1]:.0f} ms ({times[0]:.1f}×, {times[1]:.1f}×)")
        lines.append(f"| {impl} | {cells[0]} | {cells[1]} |\n")
    return "".join(lines)


def _program_table() -> str:
    rows = ["\n| what | measured |\n|---|---|\n"]
    for record in latest("ceilings"):
        found = record["results"]
        rows.append(
            f"| ceilings of one core | {found['gflop_per_s']} GFLOP/s in products of 2048² "
            f"matrices, {found['gb_per_s']} GB/s in copies |\n"
        )
    for record in latest("memory"):
        for name, size in record["results"]["temporary_bytes"].items():
            share = record["results"]["of_default"][name]
            rows.append(f"| temporaries of the step, {name} | {size / 2**20:.0f} MiB ({share}) |\n")
    for record in latest("evaluation"):
        for name, found in record["results"].items():
            if isinstance(found, dict):
                rows.append(
                    f"| temporaries of UperNet-T's evaluation, {name} | "
                    f"{found['temporary_bytes'] / 2**20:.0f} MiB (full-size logits: "
                    f"{found['full_size_logits_bytes'] / 2**20:.0f} MiB) |\n"
                )
    for record in latest("compile"):
        for name, found in record["results"].items():
            if isinstance(found, dict):
                seconds = f"{found['trace_seconds']} + {found['compile_seconds']} s"
                rows.append(f"| tracing and compiling the step, {name} | {seconds} of one core |\n")
    for record in latest("input"):
        waits = ", ".join(f"{share:.1%}" for share in record["results"]["input_wait"])
        rows.append(f"| input wait of a real run, every 4 steps | {waits} |\n")
    for record in latest("scaling"):
        found = record["results"]
        sent = "; ".join(
            f"{kind}: {facts['count']} with {facts['bytes'] / 1e6:.1f} MB"
            for kind, facts in found["8 devices"].items()
        )
        gradient = found["gradient_bytes"] / 1e6
        rows.append(f"| a step on 8 devices sends | {sent} (gradients: {gradient:.1f} MB) |\n")
    return "".join(rows)


def draw_ratios(records: list[Record], path: Path) -> None:
    """Bars of the speed-up of ours over each peer."""
    fig, axes = plt.subplots(
        len(records), 1, figsize=(7, 0.6 + 0.3 * sum(1 + len(r["ratios"]) for r in records)),
        height_ratios=[1 + len(r["ratios"]) for r in records], sharex=True, layout="constrained",
    )  # fmt: skip
    for axis, record in zip(axes, records, strict=True):
        case, names = record["case"], list(record["ratios"])[::-1]
        values = [record["ratios"][name] for name in names]
        errors = [
            [v["median"] - v["low"] for v in values],
            [v["high"] - v["median"] for v in values],
        ]
        medians = [v["median"] for v in values]
        axis.barh(names, medians, xerr=errors, color="C0", ecolor="0.3", height=0.7)
        axis.axvline(1, color="0.2", lw=1)
        axis.set_title(f"{case['model']}, {case['mode']}, batch {case['batch']}", fontsize=9)
        axis.tick_params(labelsize=8)
        for y, value in enumerate(values):
            axis.text(value["high"], y, f"  {value['median']:.2f}", va="center", fontsize=8)
    axes[-1].set_xlabel("time of the peer / time of ours (CPU time of one core)", fontsize=9)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_accuracy(records: list[Record], path: Path) -> None:
    """Reproduces the paper's figure 1 with our throughputs: reported accuracy against images/s."""
    fig, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    labelled = set()
    for record in records:
        case = record["case"]
        info = inx.model_info(case["model"])
        if info.top1 is None or case["batch"] != 8:
            continue
        label, color, marker = next(v for k, v in FAMILIES.items() if case["model"].startswith(k))
        for name, filled in (("timm channels-last", False), ("ours", True)):
            speed = case["batch"] / record["peers"][name]["seconds"]["median"]
            face = color if filled else "none"
            text = f"{label}, {'this code' if filled else 'PyTorch, channels last'}"
            axis.plot(
                speed, 100 * info.top1, marker, color=color, mfc=face,
                label=None if text in labelled else text,
            )  # fmt: skip
            labelled.add(text)
        offset = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
        axis.annotate(case["model"], (speed, 100 * info.top1), **offset)
    axis.set_xlim(0, 1.25 * axis.get_xlim()[1])
    axis.set_xlabel("images/s, inference, one CPU core, batch 8, float32 (measured)")
    axis.set_ylabel("ImageNet-1K top-1 % (reported)")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_roofline(records: list[Record], path: Path) -> None:
    """Bars of each network's rate as a share of that of large matrix products."""
    ceiling = next(iter(latest("ceilings")))["results"]["gflop_per_s"]
    fig, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    names, shares = [], []
    for record in records:
        case = record["case"]
        if case["model"].startswith("vanillanet"):
            macs = inx.model_info(case["model"]).deploy_macs
        else:
            macs = inx.model_info(case["model"]).macs
        work = 2e-9 * macs * case["batch"] * (3 if case["mode"] == "train" else 1)
        names.append(f"{case['model']}, {case['mode']}, {case['batch']}")
        shares.append(100 * work / record["peers"]["ours"]["seconds"]["median"] / ceiling)
    axis.barh(names[::-1], shares[::-1], color="C2")
    axis.set_xlabel(f"% of {ceiling:.0f} GFLOP/s, one core's rate for products of 2048² matrices")
    axis.tick_params(labelsize=8)
    fig.savefig(path, dpi=110)
    plt.close(fig)


if __name__ == "__main__":
    main()
