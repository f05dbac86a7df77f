"""Mistakes in label maps that cannot be meant, each in a sentence that says what to do."""

from collections.abc import Sequence

import numpy as np

from inceptionnext_jax.data.label_maps import LabelMapDataset, listed
from inceptionnext_jax.tasks.segmentation.label_sample import Sample

_MANY = 20  # ids without a class that look like smoothed or numbered objects


def find_problems(dataset: LabelMapDataset, samples: Sequence[Sample], max_bad: float) -> list[str]:
    """Returns what is wrong with the labels of a sample.

    Args:
      dataset: The data.
      samples: Counts of each split.
      max_bad: Largest share of damaged pairs that a run skips.
    """
    found = []
    for sample in samples:
        ids = _ids(dataset, sample)
        found += [ids] if ids else []
        found += _misfits(sample, max_bad)
        if ids:  # the other split may have the same problem
            break
    return found


def _ids(dataset: LabelMapDataset, sample: Sample) -> str:
    """Returns the sentence about ids and colours, or "" where they can be meant."""
    rule, seen = dataset.rule, sorted(sample.stored)
    if sample.refused:
        return sample.refused
    if sample.pictures:
        return _pictures(sample)
    if set(seen) == {0, 255} and 255 not in rule.ids:
        names = dataset.class_names if rule.num_classes == 2 else ("background", "object")
        return (
            f"{_maps(sample)} hold only the ids 0 and 255, as masks of one object often do, and "
            f"255 {_meaning(dataset, 255)}; write two lines into the class list, '0: {names[0]}' "
            f"and '255: {names[1]}', or change 255 to 1 in the files"
        )
    if sample.unknown:
        return _unknown(dataset, sample)
    classes = np.flatnonzero(sample.pixels)
    if sample.looked_at and not classes.size:
        return (
            f"{_maps(sample)} hold no label at all: their ids {listed(seen)} mean 'no label' "
            f"(data.ignore_index, data.reduce_zero_label); {_remedy(dataset)}"
        )
    if classes.size == 1 and sample.name == "training":
        others = [stored for stored in seen if stored in rule.without_label]
        left = f", and {listed(others)} without a label" if others else ""
        return (
            f"{_maps(sample)} hold one class, {dataset.class_names[classes[0]]!r} (id "
            f"{rule.ids[classes[0]]}){left}, so there is nothing to learn; {_remedy(dataset)}"
        )
    return ""


def _maps(sample: Sample) -> str:
    if sample.looked_at == sample.available:
        return f"all {sample.available:,} {sample.name} label maps"
    return f"{sample.looked_at:,} of {sample.available:,} {sample.name} label maps, all looked at,"


def _meaning(dataset: LabelMapDataset, stored: int) -> str:
    if stored in dataset.rule.without_label:
        return "means 'no label' (data.ignore_index)"
    return "is no class's id"


def _remedy(dataset: LabelMapDataset) -> str:
    if dataset.rule.reduce_zero_label:
        return "set data.reduce_zero_label=False if 0 is a class, and let the class list begin so"
    return "give each class its id in the class list ('7: road'), or correct the label maps"


def _pictures(sample: Sample) -> str:
    colors = sorted(sample.colors)
    start = f"{sample.pictures:,} of {sample.looked_at:,} {sample.name} label maps are RGB pictures"
    if all(len(set(color)) == 1 for color in colors):
        return (
            f"{start} in grey ({listed([int(color[0]) for color in colors])}), and the classes "
            f"have no colours; save them as grey PNG files of class ids"
        )
    shown = ", ".join(" ".join(map(str, color)) for color in colors[:5])
    return (
        f"{start}, with colours such as {shown}, and the classes have none; write each class's "
        f"colour behind its name in the class list ('sky 70 130 180'), or save them as grey PNG "
        f"files of class ids"
    )


def _unknown(dataset: LabelMapDataset, sample: Sample) -> str:
    rule, unknown = dataset.rule, sorted(sample.unknown)
    start = f"{sample.name} label maps have"
    if rule.class_ids is None and unknown == [rule.ids[-1] + 1] and not rule.reduce_zero_label:
        last, count = unknown[0], rule.num_classes
        if 0 in sample.stored:
            return (
                f"{start} the ids 0 to {last}, one more than the {count} classes: if 0 means 'no "
                f"label', set data.reduce_zero_label=True; if it is a class, such as background, "
                f"add it to the class list as the first"
            )
        return (
            f"{start} ids from {min(sample.stored)} to {last}, but the first of {count} classes "
            f"has id 0; set data.reduce_zero_label=True, by which it has id 1"
        )
    hint = "correct the class list, the label maps, data.ignore_index or data.reduce_zero_label"
    if len(unknown) > _MANY:
        hint = "so many are a sign of edges smoothed by resizing, of JPEG, or of numbered objects"
    return (
        f"{start} ids that no class has, {listed(unknown)} (first in {sample.unknown_in}), but "
        f"{rule.described}; {hint}"
    )


def _misfits(sample: Sample, max_bad: float) -> list[str]:
    """Returns the sentence about label maps of another size than their image, if many are."""
    if len(sample.misfits) <= max(1, max_bad * sample.looked_at):
        return []
    name, image, label = sample.misfits[0]
    turned = all(image == label[::-1] for _, image, label in sample.misfits)
    hint = "replace or remove these pairs"
    if turned:
        hint = (
            "the images seem to be turned by an EXIF tag, which is not applied: store their pixels "
            "upright"
        )
    return [
        f"{len(sample.misfits):,} of {sample.looked_at:,} {sample.name} label maps have another "
        f"size than their image (first: {name}, {image[1]} × {image[0]} pixels, its label map "
        f"{label[1]} × {label[0]}); {hint}"
    ]
