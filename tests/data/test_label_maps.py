import io
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.bad_images import GOOD, first_good
from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.decode import BadImageError, decode_pil, image_size
from inceptionnext_jax.data.label_maps import IGNORED, LabelRule, voc_palette
from inceptionnext_jax.errors import UserError

IDS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [2, 2, 0, 1]], np.uint8)
RED, GREEN, BLACK = (255, 0, 0), (0, 128, 0), (0, 0, 0)


def file(picture, kind="PNG", **options):
    """An encoded file of an array or a Pillow image."""
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def palette_png(ids, bits=8):
    picture = Image.fromarray(ids, "P")
    picture.putpalette(list(range(255, 255 - 3 * 16, -1)))
    return file(picture, bits=bits)


def grey_png(ids, bits):
    """A grey PNG of few bits, which Pillow does not write: straight from the specification."""
    height, width = ids.shape

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = b""
    for row in ids:
        text = "".join(f"{value:0{bits}b}" for value in row).ljust(-(-width * bits // 8) * 8, "0")
        rows += b"\0" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "stored",
    [
        file(IDS),
        cv2.imencode(".png", IDS.astype(np.uint16))[1].tobytes(),
        palette_png(IDS),
        palette_png(IDS, bits=2),
        palette_png(IDS, bits=4),
        grey_png(IDS, 2),
        grey_png(IDS, 4),
        grey_png(IDS, 8),
        file(IDS, optimize=True),
        IDS,
        IDS.astype(np.int64),
    ],
    ids=[
        *("grey 8", "grey 16", "palette 8", "palette 2", "palette 4", "grey 2", "grey 4"),
        *("grey 8 by the specification", "optimized", "uint8", "int64"),
    ],
)
def test_every_kind_of_label_map_gives_its_stored_ids(stored):
    classes = LabelRule(4)(stored, "a.png")
    assert classes.dtype == np.int16
    np.testing.assert_array_equal(classes, IDS)


def test_one_bit_label_maps_have_the_ids_0_and_1():
    bits = IDS > 1
    np.testing.assert_array_equal(LabelRule(2)(file(bits), "a.png"), bits)
    np.testing.assert_array_equal(LabelRule(2)(grey_png(bits.astype(int), 1), "a.png"), bits)


def test_sixteen_bits_hold_more_than_256_classes():
    ids = np.arange(0, 300, dtype=np.uint16).reshape(10, 30)
    rule = LabelRule(300, ignore_index=65535)
    stored = np.where(ids == 299, 65535, ids).astype(np.uint16)
    expected = np.where(ids == 299, IGNORED, ids.astype(int))
    np.testing.assert_array_equal(rule(file(stored), "a"), expected)


def test_ignored_ids_become_ignored():
    stored = np.where(IDS == 3, 255, IDS).astype(np.uint8)
    np.testing.assert_array_equal(
        LabelRule(3)(file(stored), "a"), np.where(IDS == 3, IGNORED, IDS.astype(int))
    )
    kept = LabelRule(4, ignore_index=0)(file(IDS), "a")
    np.testing.assert_array_equal(kept, np.where(IDS == 0, IGNORED, IDS.astype(int)))


def test_zero_is_reduced_as_mmsegmentation_does_it():
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    label = stored.copy()  # mmsegmentation's three lines, in uint8
    label[label == 0] = 255
    label = label - 1
    label[label == 254] = 255
    ours = LabelRule(254, reduce_zero_label=True)(file(stored), "a")
    np.testing.assert_array_equal(ours, np.where(label == 255, IGNORED, label.astype(int)))


@pytest.mark.parametrize("extra", [np.zeros((3, 4, 0), np.uint8), np.full((3, 4, 1), 7, np.uint8)])
def test_colours_become_classes(extra):
    colors = np.array([BLACK, RED, GREEN, (255, 255, 255)], np.uint8)
    stored = np.concatenate([colors[IDS], extra], axis=2)  # with and without alpha
    rule = LabelRule(3, colors=(BLACK, RED, GREEN), ignored_colors=((255, 255, 255),))
    expected = np.where(IDS == 3, IGNORED, IDS.astype(int))
    np.testing.assert_array_equal(rule(file(stored), "a"), expected)
    np.testing.assert_array_equal(rule(file(np.where(IDS == 3, 255, IDS)), "a"), expected)


def test_an_id_without_class_ends_the_run_and_is_named():
    cases = [
        (LabelRule(3), r"a\.png has id 3, but 3 classes have the ids 0 to 2 and 255 \(no label\)"),
        (LabelRule(3, ignore_index=None), r"has id 3, but 3 classes have the ids 0 to 2; correct"),
        (
            LabelRule(2, reduce_zero_label=True),
            r"has id 3, but 2 classes have the ids 1, 2 and 0, 255 \(no label\)",
        ),
    ]
    for rule, message in cases:
        with pytest.raises(UserError, match=message) as raised:
            rule(file(IDS), "a.png")
        assert not isinstance(raised.value, BadImageError)
    with pytest.raises(UserError, match="has id -1, but 4"):
        LabelRule(4)(IDS.astype(int) - 1, "a.png")
    with pytest.raises(UserError, match="has id -1, but 4"):
        LabelRule(4, ignore_index=65535)(IDS.astype(int) - 1, "a.png")
    with pytest.raises(UserError, match="has id 65534, but 4"):
        LabelRule(4)(IDS.astype(int) + 65534, "a.png")


def test_colours_without_class_and_other_kinds_of_files_end_the_run():
    pixels = np.array([BLACK, RED, GREEN, (9, 8, 7)], np.uint8)[IDS]
    cases = [
        (LabelRule(3, colors=(RED, GREEN, BLACK)), file(pixels), "a has the colour 9 8 7, which"),
        (LabelRule(4), file(pixels), "a is an RGB picture, and these classes have no colours"),
        (LabelRule(4), file(IDS, "JPEG"), "a is a JPEG file, expected PNG"),
        (LabelRule(4), file(Image.fromarray(IDS).convert("LA")), "a has an alpha channel"),
    ]
    for rule, stored, message in cases:
        with pytest.raises(UserError, match=message) as raised:
            rule(stored, "a")
        assert not isinstance(raised.value, BadImageError)


def test_damaged_label_maps_are_skipped_as_images_are():
    good = file(np.tile(IDS, (20, 20)))
    for damaged in (b"", b"no image", good[: len(good) // 2], good[:20]):
        with pytest.raises(BadImageError, match=r"cannot decode the label map of b\.png"):
            LabelRule(4)(damaged, "b.png")
    image = file(np.zeros((60, 80, 3), np.uint8))
    source = [Example(image, good[:50], "b.png"), Example(image, good, "c.png")]
    rule = LabelRule(4)
    found, damaged_index = first_good(source, 0, lambda example: rule(example.label, example.name))
    assert (found.shape, damaged_index) == ((60, 80), 0)
    assert first_good(source, 1, lambda example: rule(example.label, example.name))[1] == GOOD


def test_rules_pickle():
    rule = LabelRule(3, 7, True, (RED, GREEN, BLACK))
    rule(IDS, "a")  # with its tables made
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_palette_is_that_of_pascal_voc():
    published = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    palette = voc_palette(300)
    assert palette[:6] == tuple(published)
    assert palette[20] == (0, 64, 128)  # tvmonitor
    assert palette[255] == (224, 224, 192)  # the borders of VOC's objects
    assert len(set(palette)) == 300


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_size_from_the_header_is_that_of_the_decoded_image(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    stored = file(np.zeros((30, 50, 3), np.uint8), kind, **options)
    width, height = decode_pil(stored).size
    assert image_size(stored) == (height, width)


def test_size_needs_no_pixels_but_a_header():
    noise = np.random.default_rng(0).integers(0, 256, (300, 50, 3), np.uint8)
    stored = file(noise, "JPEG")
    assert image_size(stored[:1000]) == (300, 50)
    assert image_size(np.zeros((7, 9, 3), np.uint8)) == (7, 9)
    with pytest.raises(BadImageError, match=r"cannot decode x\.jpg"):
        image_size(stored[:10], "x.jpg")
