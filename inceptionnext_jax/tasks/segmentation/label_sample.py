"""A sample of label maps, counted."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inceptionnext_jax.data.dataset import Source
from inceptionnext_jax.data.decode import BadImageError, image_size
from inceptionnext_jax.data.label_maps import IGNORED, UNKNOWN, LabelRule, stored_label_map
from inceptionnext_jax.data.resize import Size
from inceptionnext_jax.errors import UserError

_COLORS = 100  # to remember of a label map that should have none
_PATIENCE = 5.0  # seconds between lines about the progress


@dataclass
class Sample:
    """Label maps of a split, counted.

    Attributes:
      name: "training" or "evaluation".
      available: Examples of the split.
      indices: Those looked at, without damaged ones.
      pixels: [K] int64, pixels of each class.
      maps: [K] int64, label maps with each class.
      ignored: Pixels without a label.
      empty: Label maps without any labelled pixel.
      unknown: Stored ids that no class has -> their pixels.
      stored: All stored ids -> their pixels.
      unknown_in: Name of the first example with such an id.
      pictures: Label maps that are RGB pictures where classes have no colours.
      colors: Their colours, some of them.
      refused: The first sentence of another kind, such as a colour that no class has.
      sizes: Heights and widths of the label maps.
      misfits: (name, image's size, label map's size) where these differ.
      damaged: Sentences about files that cannot be read.
    """

    name: str
    available: int
    pixels: np.ndarray
    maps: np.ndarray
    indices: list[int] = field(default_factory=list)
    ignored: int = 0
    empty: int = 0
    unknown: dict[int, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    unknown_in: str = ""
    pictures: int = 0
    colors: set[tuple[int, ...]] = field(default_factory=set)
    refused: str = ""
    sizes: list[Size] = field(default_factory=list)
    misfits: list[tuple[str, Size, Size]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def looked_at(self) -> int:
        return len(self.sizes)


class Progress:
    """Says how far it is, every few seconds."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._last = time.monotonic()

    def __call__(self, name: str, done: int, count: int) -> None:
        now = time.monotonic()
        if now - self._last > _PATIENCE:
            self._last = now
            self._say(f"looked at {done:,} of {count:,} {name} label maps")


def look(rule: LabelRule, source: Source, name: str, count: int, progress: Progress) -> Sample:
    """Counts the labels of up to `count` evenly spaced examples of a split."""
    classes = rule.num_classes
    sample = Sample(name, len(source), np.zeros(classes, np.int64), np.zeros(classes, np.int64))
    chosen = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    for done, index in enumerate(chosen.tolist()):
        example = source[index]
        try:
            stored = stored_label_map(example.label, example.name)  # type: ignore[arg-type]
            size = image_size(example.image, example.name)
        except BadImageError as error:
            sample.damaged.append(str(error))
        except UserError as error:
            sample.refused = sample.refused or str(error)
        else:
            sample.indices.append(index)
            sample.sizes.append(stored.shape[:2])
            if size != stored.shape[:2]:
                sample.misfits.append((example.name, size, stored.shape[:2]))
            _count(sample, rule, stored, example.name)
        progress(name, done + 1, len(chosen))
    return sample


def _count(sample: Sample, rule: LabelRule, stored: np.ndarray, name: str) -> None:
    """Adds a label map to the sample."""
    if stored.ndim == 2:
        ids, counts = np.unique(stored, return_counts=True)
        found = rule.classes_of(ids)
        for stored_id, number in zip(ids.tolist(), counts.tolist(), strict=True):
            sample.stored[stored_id] = sample.stored.get(stored_id, 0) + number
        for stored_id, number in zip(
            ids[found == UNKNOWN].tolist(), counts[found == UNKNOWN].tolist(), strict=True
        ):
            sample.unknown[stored_id] = sample.unknown.get(stored_id, 0) + number
            sample.unknown_in = sample.unknown_in or name
    elif rule.colors is None:
        sample.pictures += 1
        wide = stored.astype(np.int64)
        codes = np.unique(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])[:_COLORS]
        sample.colors |= {tuple(code.to_bytes(3, "big")) for code in codes.tolist()}
        return
    else:
        try:
            found, counts = np.unique(rule(stored, name), return_counts=True)
        except UserError as error:
            sample.refused = sample.refused or str(error)
            return
    labelled = found >= 0
    np.add.at(sample.pixels, found[labelled], counts[labelled])
    sample.maps[np.unique(found[labelled])] += 1
    sample.ignored += int(counts[found == IGNORED].sum())
    sample.empty += not labelled.any()
