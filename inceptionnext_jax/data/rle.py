"""COCO's run-length code of masks: columns from left to right, runs of 0 and 1 in turn.

Written out here because files from strangers hold it: a wrong one must be a sentence, and the usual
decoder is C that trusts its input.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from inceptionnext_jax.errors import UserError

DIGIT = 5  # bits in a character of the text; one more says that another follows
FIRST = 48  # the character of digit 0
LONGEST = 7  # characters that a count may have: 35 bits


class Rle(TypedDict):
    """A mask as in COCO's files: height and width, and counts as text (or bytes, or numbers)."""

    size: list[int]
    counts: str | bytes | list[int]


def encode(mask: np.ndarray, corner: tuple[int, int] = (0, 0), size: Sequence[int] = ()) -> Rle:
    """Returns the code of a mask, or of an image that is 0 outside of it.

    Args:
      mask: [h, w] bool, or 0 and 1.
      corner: Row and column of the image where `mask` begins.
      size: Height and width of the image; by default those of `mask`.
    """
    height, width = size or mask.shape
    edges = np.diff(np.pad(mask.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, stops = (
        (column + corner[1]) * height + row + corner[0]
        for column, row in (np.nonzero(edges == edge) for edge in (1, -1))
    )
    # A run that ends a column and one that begins the next are one.
    apart = starts[1:] != stops[:-1]
    starts = starts[np.r_[True, apart]] if len(starts) else starts
    stops = stops[np.r_[apart, True]] if len(stops) else stops
    turns = np.stack([starts, stops], axis=1).ravel()
    ends = turns if len(turns) and turns[-1] == height * width else np.r_[turns, height * width]
    counts = np.diff(np.r_[0, ends])
    return {"size": [int(height), int(width)], "counts": to_text(counts)}


def decode(rle: Rle) -> np.ndarray:
    """Returns the mask [height, width] bool of a code.

    Raises:
      UserError: The counts are damaged, or do not fill the mask exactly.
    """
    height, width = rle["size"]
    runs = _runs(rle["counts"])
    if (runs < 0).any() or runs.sum() != height * width:
        raise UserError(
            f"an RLE of {len(runs)} runs covers {runs.sum()} pixels, expected the"
            f" {height}×{width} of its size; write the mask again"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _runs(counts: str | bytes | list[int]) -> np.ndarray:
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        return from_text(counts)
    try:
        return np.asarray(counts, np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"the counts of an RLE are {str(counts)[:40]}, expected whole numbers; write the mask"
            " again"
        ) from None


def to_text(counts: np.ndarray) -> str:
    """Returns counts as COCO's text: from the fourth on, differences to the count before the last.

    Each is written in digits of five bits, the lowest first; the last digit carries the sign.
    """
    numbers = np.asarray(counts, np.int64).copy()
    numbers[3:] -= counts[1:-2]
    shifted = numbers[:, None] >> (DIGIT * np.arange(LONGEST + 1))
    digits = shifted[:, :-1] & 31
    rest = shifted[:, 1:]
    more = np.where(digits & 16, rest != -1, rest != 0)
    written = np.cumprod(np.pad(more[:, :-1], ((0, 0), (1, 0)), constant_values=True), axis=1) > 0
    return (digits + FIRST + 32 * more)[written].astype(np.uint8).tobytes().decode("ascii")


def from_text(text: str) -> np.ndarray:
    """Returns the counts [N] int64 that `to_text` wrote.

    Raises:
      UserError: The text is not of this kind.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - FIRST
    last = codes & 32 == 0
    begin = np.flatnonzero(np.r_[True, last[:-1]]) if len(codes) else np.zeros(0, int)
    lengths = np.diff(np.r_[begin, len(codes)])
    if (codes < 0).any() or (codes > 63).any() or not last[-1:].all() or (lengths > LONGEST).any():
        raise UserError(
            f"the RLE {text[:20]!r} is not COCO's text of counts, expected characters from '0' to"
            " 'o'; write the mask again"
        )
    if not len(codes):
        return np.zeros(0, np.int64)
    place = DIGIT * (np.arange(len(codes)) - np.repeat(begin, lengths))
    numbers = np.add.reduceat((codes & 31) << place, begin)
    negative = codes[last] & 16 != 0
    numbers -= np.where(negative, 1 << (DIGIT * lengths), 0)
    # Differences to the count before the last, on odd and even places apart.
    for parity in (1, 2):
        numbers[parity::2] = np.cumsum(numbers[parity::2])
    return numbers
