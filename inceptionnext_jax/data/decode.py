"""Decoding of image files to RGB pixels, as timm and torchvision do it.

Transparency is dropped, EXIF rotation is not applied, animations yield their first frame, and grey
and CMYK become RGB by Pillow's rules. One difference: 16-bit grey keeps its high byte, as in
OpenCV and TensorFlow, where Pillow would turn nearly all of it white.

Evaluation always decodes with Pillow. Training decodes ordinary JPEGs with OpenCV, which gives
the same pixels as Pillow (both wrap libjpeg-turbo; a test compares them) in less time.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from inceptionnext_jax.errors import UserError

cv2.setNumThreads(0)  # one core per worker: OpenCV's own threads would compete for them

_CV2_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
MAX_PIXELS = 89_478_485  # Pillow's own warning level: beyond it Pillow decides what to do
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class BadImageError(UserError):
    """An image that cannot be decoded, or would need absurd amounts of memory."""


def decode_pil(image: bytes | np.ndarray, name: str = "image") -> Image.Image:
    """Returns the image as Pillow's `convert("RGB")` gives it.

    image: an encoded file, or [H, W, 3] uint8, which is only wrapped.
    Raises BadImageError naming the image if it cannot be decoded; Pillow refuses more than twice
    MAX_PIXELS as an attack on memory.
    """
    if isinstance(image, np.ndarray):
        return Image.fromarray(image)
    with naming_damage(name):
        opened: Image.Image = Image.open(io.BytesIO(image))
        if opened.mode.startswith("I"):
            opened = _high_byte(opened)
        return opened.convert("RGB")


def image_size(image: bytes | np.ndarray, name: str = "image") -> tuple[int, int]:
    """Returns the (height, width) that `decode_pil` would give, from the file's header alone.

    Raises BadImageError naming the image if it has no readable header.
    """
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    with naming_damage(name):
        width, height = Image.open(io.BytesIO(image)).size
        return height, width


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turns anything that goes wrong while Pillow reads the file `name` into a BadImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF and the like: the pixels are fine
            yield
    except Exception as error:  # an untrusted file can be wrong in any way
        why = re.sub(r" <_io.BytesIO object at \w+>", "", " ".join(str(error).split()))
        raise BadImageError(f"cannot decode {name}: {why}; replace or remove this file") from error


def _high_byte(image: Image.Image) -> Image.Image:
    """Reduces integers of more than 8 bits to 8 bits."""
    values = np.asarray(image)
    return Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))


def decode_rgb(image: bytes | np.ndarray, name: str = "image") -> np.ndarray:
    """Returns the same pixels as `decode_pil`, [H, W, 3] uint8, as fast as possible."""
    if isinstance(image, np.ndarray):
        return image
    if _is_plain_jpeg(image):
        with contextlib.suppress(cv2.error):  # Pillow then reports what is wrong
            pixels = cv2.imdecode(np.frombuffer(image, np.uint8), _CV2_FLAGS)
            if pixels is not None:
                return pixels
    return np.asarray(decode_pil(image, name))


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether OpenCV and Pillow agree on `data`: a complete JPEG, grey or YCbCr, of sane size.

    CMYK and RGB-coded JPEGs are converted differently, and a truncated JPEG is an error in Pillow
    but grey pixels in some versions of OpenCV.
    """
    if data[:2] != b"\xff\xd8" or b"\xff\xd9" not in data[-64:]:
        return False
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if (
            marker == 0xEE
            and data[at + 4 : at + 9] == b"Adobe"
            and data[at + 15 : at + 16] == b"\0"
        ):
            return False
        if marker in _SOF_MARKERS:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return data[at + 9] in (1, 3) and 0 < height * width <= MAX_PIXELS
        at += 2 + length
    return False
