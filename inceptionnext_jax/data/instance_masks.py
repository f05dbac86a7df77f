"""Masks of objects: polygons and run lengths as stored, bitmaps, crops to boxes.

Bitmaps are as COCO's own tools draw them (pycocotools): a pixel at row y and column x covers
x .. x + 1 and y .. y + 1.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

Size = tuple[int, int]  # height, width in pixels
# Polygons, each [2 · corners] float64, x before y; or COCO's compressed run lengths; or no mask.
Segmentation = tuple[np.ndarray, ...] | bytes | None

_MAX_COORDINATE = 2.0**16  # pixels; beyond it a polygon is nonsense and would take much memory
_HUNDREDTHS = 100.0


def run_lengths(segmentation: Segmentation, size: Size) -> bytes:
    """Returns COCO's compressed run lengths of a mask; those of no mask have no pixels.

    size: of the image.
    """
    if isinstance(segmentation, bytes):
        return segmentation
    height, width = size
    if not segmentation:
        empty = {"size": [height, width], "counts": [height * width]}
        return coco_mask.frPyObjects(empty, height, width)["counts"]
    return coco_mask.merge(coco_mask.frPyObjects(list(segmentation), height, width))["counts"]


def bitmap(segmentation: Segmentation, size: Size) -> np.ndarray:
    """Returns the mask on its image, [H, W] uint8, 0 or 1."""
    return coco_mask.decode({"size": list(size), "counts": run_lengths(segmentation, size)})


def bitmaps(segmentations: tuple[Segmentation, ...], size: Size) -> np.ndarray:
    """Returns the masks on their image, [N, H, W] uint8, 0 or 1."""
    found = np.zeros((len(segmentations), *size), np.uint8)
    for number, segmentation in enumerate(segmentations):
        found[number] = bitmap(segmentation, size)
    return found


def encode(mask: np.ndarray) -> bytes:
    """Returns the compressed run lengths of [H, W] bool or uint8 (0 or 1)."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]


def mask_area(segmentation: Segmentation, size: Size) -> int:
    """Returns the number of a mask's pixels."""
    return int(coco_mask.area({"size": list(size), "counts": run_lengths(segmentation, size)}))


def box_crop(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Returns the part of a bitmap in a box, sampled to [side, side] uint8, 255 for 1.

    Each value is the average over a cell of the box, by RoIAlign's rule (aligned, as many samples
    in a cell as it has pixels, bilinear), so that the mask of any part of the box can be had from
    the crop. It takes side² bytes where the whole bitmap takes H · W.

    mask: [H, W] uint8, 0 or 1.
    box: [4], x1, y1, x2, y2 in pixels of the bitmap; x1 > x2 mirrors the crop.
    """
    x1, y1, x2, y2 = map(float, box)
    rows = _cell_weights(y1, y2, side, mask.shape[0])
    columns = _cell_weights(min(x1, x2), max(x1, x2), side, mask.shape[1])
    top, bottom = _support(rows)
    left, right = _support(columns)
    inside = mask[top:bottom, left:right].astype(np.float32)
    crop = _product(_product(rows[:, top:bottom], inside), columns[:, left:right].T)
    if x1 > x2:
        crop = crop[:, ::-1]
    return np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The matrix product in this thread; the threads of a BLAS would compete with other workers."""
    factors = map(np.ascontiguousarray, (first, second))
    return cv2.gemm(*factors, 1, None, 0)  # type: ignore[call-overload]


def _cell_weights(low: float, high: float, cells: int, length: int) -> np.ndarray:
    """The weight of each pixel in each cell of an interval, [cells, length] float32."""
    extent = max(high - low, 0.0)
    samples = max(1, int(np.ceil(extent / cells)))
    at = low - 0.5 + (np.arange(cells * samples) + 0.5) * extent / (cells * samples)
    valid = (at >= -1) & (at <= length)
    at = np.clip(at, 0, length - 1)
    first = np.minimum(at.astype(np.int64), length - 1)
    second = np.minimum(first + 1, length - 1)
    share = at - first
    cell = np.arange(cells * samples) // samples
    weights = np.zeros((cells, length))
    np.add.at(weights, (cell, first), (1 - share) * valid / samples)
    np.add.at(weights, (cell, second), share * valid / samples)
    return weights.astype(np.float32)


def _support(weights: np.ndarray) -> tuple[int, int]:
    """The pixels outside of which all weights are 0."""
    used = np.flatnonzero(weights.any(0))
    return (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)


class MaskError(ValueError):
    """A segmentation that is none of COCO's three kinds; the message says why."""


def parse_segmentation(stored: Any, size: Size) -> Segmentation:
    """Returns a segmentation as it stands in COCO's JSON: polygons or run lengths of either kind.

    Polygons with an odd number of coordinates or fewer than three corners are left out, and a
    segmentation without any other is None, as in mmdetection.

    size: of the image.
    Raises MaskError when it is none of these, or does not fit the image.
    """
    if stored is None:
        return None
    if isinstance(stored, dict):
        return _parse_runs(stored, size)
    if not isinstance(stored, list):
        raise MaskError("it is neither a list of polygons nor a dictionary of run lengths")
    polygons = tuple(_parse_polygon(polygon) for polygon in stored)
    return tuple(p for p in polygons if len(p) >= 6 and len(p) % 2 == 0) or None


def _parse_polygon(polygon: Any) -> np.ndarray:
    try:
        corners = np.array(polygon, np.float64)
    except (TypeError, ValueError) as error:
        raise MaskError("a polygon has something else than numbers") from error
    if corners.ndim != 1:
        raise MaskError("a polygon is not a list of numbers")
    if not (np.abs(corners) <= _MAX_COORDINATE).all():
        raise MaskError("a polygon has a coordinate that no image has")
    return corners


def _parse_runs(stored: dict[str, Any], size: Size) -> bytes:
    if list(stored.get("size", ())) != list(size):
        raise MaskError(
            f"its run lengths are of size {stored.get('size')}, the image's is {list(size)}"
        )
    counts = stored.get("counts")
    if isinstance(counts, str | bytes):
        code = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        lengths = _decompressed(code)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths = np.array(counts, np.float64)
        code = b""
    else:
        raise MaskError("its run lengths are neither a string nor a list of whole numbers")
    if not len(lengths) or lengths.min() < 0 or lengths.sum() != size[0] * size[1]:
        raise MaskError("its run lengths do not add up to the image's pixels")
    return code or coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]


def _decompressed(code: bytes) -> np.ndarray:
    """The run lengths of COCO's code: [n] int64.

    A number has five bits a character, the lowest first, the sixth bit where more follow; from the
    fourth number on it is the difference to the last but one.
    """
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise MaskError("its run lengths are damaged")
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    if place.max() > 9:
        raise MaskError("its run lengths are damaged")
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


@dataclass(frozen=True)
class PackedMasks:
    """Many segmentations in a few arrays, since millions of Python objects would be slow to send
    to each worker.

    coordinates: of all polygons; int32 hundredths of a pixel where nothing is lost by it, else
        float64 pixels.
    polygon_ends: [P] int64, the end of each polygon in `coordinates`.
    mask_polygons: [N] int64, the end of each mask's polygons in `polygon_ends`.
    runs: all run lengths.
    run_ends: [N] int64, the end of each mask's run lengths in `runs`.
    """

    coordinates: np.ndarray
    polygon_ends: np.ndarray
    mask_polygons: np.ndarray
    runs: bytes
    run_ends: np.ndarray

    def __len__(self) -> int:
        return len(self.run_ends)

    def __getitem__(self, index: int) -> Segmentation:
        low, high = _range(self.run_ends, index)
        if low < high:
            return self.runs[low:high]
        low, high = _range(self.mask_polygons, index)
        return tuple(self._polygon(number) for number in range(low, high)) or None

    def _polygon(self, number: int) -> np.ndarray:
        low, high = _range(self.polygon_ends, number)
        corners = self.coordinates[low:high]
        return corners / _HUNDREDTHS if corners.dtype == np.int32 else corners

    @property
    def present(self) -> np.ndarray:
        """Whether each annotation has a mask, [N] bool."""
        runs, polygons = np.diff(self.run_ends, prepend=0), np.diff(self.mask_polygons, prepend=0)
        return (runs > 0) | (polygons > 0)


def _range(ends: np.ndarray, index: int) -> tuple[int, int]:
    return int(ends[index - 1]) if index else 0, int(ends[index])


class MaskPacker:
    """Packs segmentations one by one."""

    def __init__(self) -> None:
        self._coordinates = bytearray()
        self._polygon_lengths: list[int] = []
        self._mask_polygons: list[int] = []
        self._runs = bytearray()
        self._run_lengths: list[int] = []

    def add(self, segmentation: Segmentation) -> None:
        """Adds the next one."""
        polygons = segmentation if isinstance(segmentation, tuple) else ()
        for corners in polygons:
            self._coordinates += corners.tobytes()
            self._polygon_lengths.append(len(corners))
        self._mask_polygons.append(len(polygons))
        runs = segmentation if isinstance(segmentation, bytes) else b""
        self._runs += runs
        self._run_lengths.append(len(runs))

    def packed(self) -> PackedMasks:
        """Returns all of them, in the order in which they were added."""
        return PackedMasks(
            coordinates=_compact(np.frombuffer(bytes(self._coordinates), np.float64)),
            polygon_ends=np.cumsum(self._polygon_lengths, dtype=np.int64),
            mask_polygons=np.cumsum(self._mask_polygons, dtype=np.int64),
            runs=bytes(self._runs),
            run_ends=np.cumsum(self._run_lengths, dtype=np.int64),
        )


def _compact(coordinates: np.ndarray) -> np.ndarray:
    """The coordinates as hundredths of a pixel where none has more digits."""
    hundredths = np.rint(coordinates * _HUNDREDTHS)
    same = (hundredths / _HUNDREDTHS == coordinates).all()
    return hundredths.astype(np.int32) if same else coordinates
