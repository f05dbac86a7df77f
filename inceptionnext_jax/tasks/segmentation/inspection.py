"""A look at the label maps before a run: what a sample of them holds, and what cannot be meant."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from inceptionnext_jax.data.catalog import AbsentSource
from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.tasks.kind import Inspection
from inceptionnext_jax.tasks.segmentation.inspection_page import draw_page
from inceptionnext_jax.tasks.segmentation.label_problems import find_problems
from inceptionnext_jax.tasks.segmentation.label_sample import Progress, Sample, look
from inceptionnext_jax.tasks.segmentation.transform import TrainTransform

_TRAIN, _EVAL = 200, 50  # label maps that a plan looks at
_QUICK_TRAIN, _QUICK_EVAL = 16, 4  # at the start of a run
_DOUBTFUL = 500  # of each split, before it is believed that all have one class
_SHOWN = 12  # classes in the plan
_BAR = 24  # characters of the longest bar


def inspection(
    config: ConfigDict,
    dataset: LabelMapDataset,
    transform: TrainTransform,
    thorough: bool,
    say: Callable[[str], None],
) -> Inspection | None:
    """Counts the labels of evenly spaced examples of both splits.

    Args:
      config: Valid.
      dataset: Its data.
      transform: The augmentation on the host, to draw it.
      thorough: Whether to look at hundreds of label maps instead of a few.
      say: Prints a line about the progress, if it takes seconds.
    """
    sources = {"training": dataset.train, "evaluation": dataset.eval}
    present = {
        name: source
        for name, source in sources.items()
        if source is not None and not isinstance(source, AbsentSource)
    }
    progress = Progress(say)
    counts = (_TRAIN, _EVAL) if thorough else (_QUICK_TRAIN, _QUICK_EVAL)
    wanted = dict(zip(sources, counts, strict=True))
    samples = [look(dataset.rule, present[name], name, wanted[name], progress) for name in present]
    if not samples:
        return None
    if _is_doubtful(samples[0]):
        samples = [
            look(dataset.rule, present[s.name], s.name, _DOUBTFUL, progress) for s in samples
        ]
    notes = _notes(dataset, samples)
    return Inspection(
        problems=find_problems(dataset, samples, config.data.max_bad),
        lines=[*_shares(dataset, samples), *notes],
        draw=partial(draw_page, config, dataset, transform, samples, notes),
    )


def _is_doubtful(sample: Sample) -> bool:
    """Whether the sample has one class at most, perhaps since others are rare."""
    return int((sample.pixels > 0).sum()) < 2 and not (sample.unknown or sample.pictures)


def _shares(dataset: LabelMapDataset, samples: Sequence[Sample]) -> list[str]:
    """The classes with the most pixels, a line each."""
    looked = " and ".join(f"{s.looked_at:,} of {s.available:,} {s.name}" for s in samples)
    first, largest = samples[0], int(samples[0].pixels.max())
    lines = [f"labels in a sample ({looked} label maps); share of labelled {first.name} pixels:"]
    seen = np.count_nonzero(first.pixels)
    order = np.argsort(-first.pixels, kind="stable")[: min(_SHOWN, seen)]
    width = max((len(dataset.class_names[k]) for k in order), default=0)
    for k in order:
        share, maps = first.pixels[k] / first.pixels.sum(), first.maps[k] / first.looked_at
        bar = "█" * max(1, round(_BAR * float(first.pixels[k] / largest)))
        name = f"{dataset.class_names[k]:{width}}"
        lines.append(f"  {name} {share:7.2%}, in {maps:4.0%} of the maps {bar}")
    return [*lines, f"  and {seen - len(order)} classes with less"] if seen > len(order) else lines


def _notes(dataset: LabelMapDataset, samples: Sequence[Sample]) -> list[str]:
    """Everything else that was found, a line each."""
    lines = []
    for sample in samples:
        never = [n for n, p in zip(dataset.class_names, sample.pixels, strict=True) if not p]
        if never:
            lines.append(f"classes never seen in the {sample.name} sample: {_shortened(never)}")
    for sample in samples:
        if total := int(sample.pixels.sum()) + sample.ignored:
            lines.append(f"without a label: {sample.ignored / total:.1%} of {sample.name} pixels")
        if sample.sizes:
            by_area = sorted(sample.sizes, key=lambda size: (size[0] * size[1], size))
            low, middle, high = by_area[0], by_area[len(by_area) // 2], by_area[-1]
            lines.append(
                f"{sample.name} images (width × height): smallest {low[1]} × {low[0]}, median "
                f"{middle[1]} × {middle[0]}, largest {high[1]} × {high[0]}"
            )
        if 0 < sample.empty < sample.looked_at:
            lines.append(f"{sample.name} label maps without any label: {sample.empty:,}")
        if sample.damaged:
            rest = f" ({len(sample.damaged)} such)" if len(sample.damaged) > 1 else ""
            lines.append(f"{sample.damaged[0]}{rest}")
    return lines


def _shortened(names: Sequence[str], most: int = 10) -> str:
    """Names, the first of them and their number if there are many."""
    rest = f", … ({len(names)} of them)" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
