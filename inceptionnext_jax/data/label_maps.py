"""Images with a class at each pixel: from stored label maps to classes."""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inceptionnext_jax.data.dataset import Splits
from inceptionnext_jax.data.decode import naming_damage
from inceptionnext_jax.errors import UserError

IGNORED = -1  # in label maps of classes: pixels without a label
Color = tuple[int, int, int]  # red, green, blue, 0 .. 255

UNKNOWN = -2  # an id or a colour that no class has
MAX_ID = 2**16 - 1  # of stored ids
_LISTED = 8  # ids in a message, at most
_GREY_STEPS = {2: 85, 4: 17}  # Pillow spreads grey of so few bits over 0 .. 255
_BIT_DEPTH = 24  # where a PNG file has it


@dataclass(frozen=True)
class LabelRule:
    """From the ids or colours of stored label maps to classes.

    num_classes: K; the classes are 0 .. K - 1.
    ignore_index: stored id of pixels without a label, 0 .. 65535; it wins over a class of this id.
    reduce_zero_label: whether the stored id 0 means "no label" and k means class k - 1 (ADE20K).
    colors: each class's colour where label maps are RGB pictures; grey and palette files still
        hold ids.
    ignored_colors: colours of pixels without a label.
    class_ids: each class's stored id where these are not 0, 1, 2, ...
    ignored_ids: more ids of pixels without a label.
    """

    num_classes: int
    ignore_index: int | None = 255
    reduce_zero_label: bool = False
    colors: tuple[Color, ...] | None = None
    ignored_colors: tuple[Color, ...] = ()
    class_ids: tuple[int, ...] | None = None
    ignored_ids: tuple[int, ...] = ()

    def __call__(self, label: bytes | np.ndarray, name: str) -> np.ndarray:
        """Returns the class of each pixel or IGNORED, [H, W] int16.

        label: a PNG file (grey of 1 to 16 bits, palette, or RGB where there are colours), stored
            ids as [H, W] integers, or colours as [H, W, 3] uint8 (or 4: alpha is dropped).
        name: the example's, for messages.
        Raises BadImageError when the file is damaged. Raises UserError when it is another kind of
        file or holds an id or a colour that no class has: the class list or the rule is wrong then,
        and so may be every other label.
        """
        stored = stored_label_map(label, name)
        if stored.ndim == 2:
            return self._from_ids(stored, name)
        if self.colors is None:
            raise UserError(
                f"the label map of {name} is an RGB picture, and these classes have no colours; "
                f"give each class its colour, or save the map as a grey PNG of class ids"
            )
        return self._from_colors(stored, name)

    @property
    def ids(self) -> tuple[int, ...]:
        """The stored id of each class."""
        first = int(self.reduce_zero_label)
        return self.class_ids or tuple(range(first, first + self.num_classes))

    @property
    def without_label(self) -> tuple[int, ...]:
        """The stored ids that mean "no label", in ascending order."""
        zero = (0,) if self.reduce_zero_label else ()
        index = () if self.ignore_index is None else (self.ignore_index,)
        return tuple(sorted({*zero, *self.ignored_ids, *index}))

    def classes_of(self, ids: np.ndarray) -> np.ndarray:
        """Returns the class of each stored id, IGNORED or UNKNOWN; int16, of the same shape."""
        if ids.size and not 0 <= ids.min() <= ids.max() <= MAX_ID:
            possible = (ids >= 0) & (ids <= MAX_ID)
            return np.where(possible, self.classes_of(np.where(possible, ids, 0)), UNKNOWN)
        return _id_table(self)[ids.astype(np.uint16, copy=False)]

    def _from_ids(self, ids: np.ndarray, name: str) -> np.ndarray:
        classes = self.classes_of(ids)
        wrong = ids[classes == UNKNOWN]
        if wrong.size:
            raise UserError(
                f"the label map of {name} has id {wrong.min()}, but {self.described}; correct the "
                f"class list, the label maps, data.ignore_index or data.reduce_zero_label"
            )
        return classes

    @property
    def described(self) -> str:
        """The ids in a sentence, such as "3 classes have the ids 0 to 2 and 255 (no label)"."""
        ignored = [f"{listed(self.without_label)} (no label)"] if self.without_label else []
        ids = " and ".join([listed(self.ids), *ignored])
        return f"{self.num_classes} classes have the ids {ids}"

    def _from_colors(self, pixels: np.ndarray, name: str) -> np.ndarray:
        codes, values = _color_table(self)
        stored = _codes(pixels)
        at = np.minimum(np.searchsorted(codes, stored), len(codes) - 1)
        unknown = stored[codes[at] != stored]
        if unknown.size:
            red, green, blue = int(unknown[0]).to_bytes(3, "big")
            raise UserError(
                f"the label map of {name} has the colour {red} {green} {blue}, which no class has; "
                f"add it to the class list"
            )
        return values[at]


def listed(ids: Sequence[int]) -> str:
    """Returns ids in ascending order as text: a range or, shortened, one by one."""
    if len(ids) > 2 and list(ids) == list(range(ids[0], ids[0] + len(ids))):
        return f"{ids[0]} to {ids[-1]}"
    rest = f", … ({len(ids)} in all)" if len(ids) > _LISTED else ""
    return ", ".join(map(str, ids[:_LISTED])) + rest


@functools.lru_cache(maxsize=8)
def _id_table(rule: LabelRule) -> np.ndarray:
    """The class of each stored id, [65536] int16."""
    table = np.full(MAX_ID + 1, UNKNOWN, np.int16)
    table[list(rule.ids)] = np.arange(rule.num_classes)
    table[list(rule.without_label)] = IGNORED
    return table


@functools.lru_cache(maxsize=8)
def _color_table(rule: LabelRule) -> tuple[np.ndarray, np.ndarray]:
    """All colours' codes in ascending order, [N] int32, and their classes, [N] int16."""
    assert rule.colors is not None
    colors = [*rule.colors, *rule.ignored_colors]
    classes = [*range(len(rule.colors)), *[IGNORED] * len(rule.ignored_colors)]
    codes = _codes(np.array(colors, np.uint8))
    order = np.argsort(codes)
    return codes[order], np.array(classes, np.int16)[order]


def _codes(pixels: np.ndarray) -> np.ndarray:
    """[..., 3] uint8 to [...] int32; alpha is dropped."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def stored_label_map(label: bytes | np.ndarray, name: str) -> np.ndarray:
    """Returns the stored ids, [H, W], or colours, [H, W, 3 or 4] uint8, of a label map.

    label, name, and what is raised: as for `LabelRule`.
    """
    if isinstance(label, np.ndarray):
        return label
    with naming_damage(f"the label map of {name}"):
        opened = Image.open(io.BytesIO(label))
        kind, mode = opened.format, opened.mode
        pixels = np.asarray(opened)
    if kind != "PNG":
        raise UserError(
            f"the label map of {name} is a {kind} file, expected PNG; save label maps as PNG (JPEG "
            f"changes ids)"
        )
    if mode == "LA":
        raise UserError(f"the label map of {name} has an alpha channel; save it as plain grey")
    step = _GREY_STEPS.get(label[_BIT_DEPTH], 1) if mode == "L" else 1
    return pixels // step if step > 1 else pixels


@dataclass(frozen=True)
class LabelMapDataset(Splits):
    """Images with label maps: the label of an example is a PNG file or an array of stored ids.

    rule: from stored ids to classes.
    palette: a colour for each class, to draw label maps.
    """

    rule: LabelRule
    palette: tuple[Color, ...]


def voc_palette(count: int) -> tuple[Color, ...]:
    """Returns PASCAL VOC's colours of the classes 0 .. count - 1; all differ, 0 is black.

    Bit 3k of a class's number goes to bit 7 - k of red, bit 3k + 1 to green, bit 3k + 2 to blue.
    """
    return tuple((_spread(i), _spread(i >> 1), _spread(i >> 2)) for i in range(count))


def _spread(bits: int) -> int:
    return sum((bits >> 3 * k & 1) << (7 - k) for k in range(8))
