"""Unusual and broken images in the pipelines."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.batches import eval_batches, train_batches
from inceptionnext_jax.data.crop import CenterCrop
from inceptionnext_jax.data.decode import BadImageError, decode_pil, decode_rgb
from inceptionnext_jax.data.digits import MemorySource
from inceptionnext_jax.errors import UserError
from tests.data.batches import eval_transforms, train_transforms

SIDE = 8
RAMP = np.arange(64 * 3, dtype=np.uint8).reshape(8, 8, 3)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_sixteen_bit_grey_keeps_its_high_byte():
    values = (np.arange(64, dtype=np.uint16) * 1024 + 77).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        pixels = decode_rgb(encoded(Image.fromarray(values), kind))
        np.testing.assert_array_equal(pixels, np.repeat((values // 256)[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA", "YCbCr"])
def test_other_colour_modes_become_pillows_rgb(mode):
    image = Image.fromarray(RAMP).convert(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    data = encoded(image, kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_rgb(data), expected)
    assert decode_rgb(data).shape == (8, 8, 3)


def test_transparency_is_dropped_not_blended():
    alpha = np.full((8, 8, 1), 3, np.uint8)
    data = encoded(Image.fromarray(np.concatenate([RAMP, alpha], axis=2)))
    np.testing.assert_array_equal(decode_rgb(data), RAMP)


def test_exif_rotation_is_not_applied_as_in_torchvision():
    image = Image.fromarray(np.zeros((4, 8, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode_rgb(encoded(image, "JPEG", exif=exif)).shape == (4, 8, 3)


def test_animations_decode_to_their_first_frame():
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode_rgb(data) == 10).all()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_before_any_memory_is_taken():
    with pytest.raises(BadImageError, match=r"cannot decode x.png.*decompression bomb"):
        decode_pil(bomb(100_000, 100_000), "x.png")


def test_elongated_images_are_refused_before_they_take_gigabytes():
    line = encoded(Image.fromarray(np.zeros((1, 65_000, 3), np.uint8)))
    with pytest.raises(BadImageError, match="65000 × 1 pixels would become 16640000 × 256"):
        CenterCrop(224, 0.875, "bicubic")(line, "x.png")


def source(bad: set[int], count: int = 40) -> MemorySource:
    """Image i has the grey value i; those in `bad` are cut off."""
    images = [encoded(Image.fromarray(np.full((8, 8), i, np.uint8))) for i in range(count)]
    images = [data[:40] if i in bad else data for i, data in enumerate(images)]
    return MemorySource(tuple(images), tuple(range(count)), tuple(f"{i}.png" for i in range(count)))


def training(data, limit: float, start: int = 0, workers: int = 0, stop: int = 12):
    return train_batches(
        data, train_transforms(SIDE, interpolation="bicubic"), seed=1, batch_size=8,
        positions=np.arange(8), start_step=start, stop_step=stop, workers=workers, max_bad=limit,
    )  # fmt: skip


def test_a_bad_training_image_is_always_replaced_by_its_neighbour(capsys):
    with training(source(set()), 0.0) as whole, training(source({5, 6, 30}), 0.1) as broken:
        pairs = list(zip(whole, broken, strict=True))
    shown = {5: 7, 6: 7, 30: 31}
    for good, batch in pairs:
        assert "bad" not in batch
        assert [shown.get(label, label) for label in good["label"]] == batch["label"].tolist()
        assert (batch["image"][:, 0, 0, 0] == batch["label"]).all()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # each once, though two epochs have passed
    assert all(line.startswith("warning: cannot decode ") for line in lines)
    assert {line.split()[3] for line in lines} == {"5.png:", "6.png:", "30.png:"}
    assert lines[-1].endswith("(skipped; 3 of at most 4 such)")


def test_a_resumed_run_skips_the_same_images():
    bad = source({5, 6, 30})
    with training(bad, 0.1) as straight, training(bad, 0.1, start=7, workers=1) as resumed:
        for one, other in zip(list(straight)[7:], resumed, strict=True):
            np.testing.assert_array_equal(one["image"], other["image"])
            np.testing.assert_array_equal(one["label"], other["label"])


def test_too_many_bad_images_end_the_run_and_the_last_is_named():
    pattern = r"cannot decode \d+.png: .* \(3 such images, data.max_bad allows 2 of 40\)"
    with (
        training(source({5, 6, 30}), 0.05) as batches,
        pytest.raises(UserError, match=pattern),
    ):
        list(batches)


def test_a_bad_evaluation_image_is_left_out_and_named(capsys):
    with eval_batches(
        source({0, 39}), eval_transforms(SIDE, crop_pct=1.0), batch_size=16,
        positions=np.arange(16), workers=0, max_bad=0.05,
    ) as batches:  # fmt: skip
        found = list(batches)
    labels = np.concatenate([batch["label"][batch["mask"] == 1] for batch in found])
    assert labels.tolist() == list(range(1, 39))
    assert sum(batch["mask"].sum() for batch in found) == 38
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_randomly_damaged_images_are_decoded_or_refused_by_name():
    """300 images with bytes changed, cut off or inserted: never another exception, never a hang."""
    rng = random.Random(0)
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    files = [
        encoded(photograph, "JPEG"), encoded(photograph, "JPEG", progressive=True),
        encoded(photograph), encoded(photograph, "GIF"), encoded(photograph, "WEBP"),
        encoded(photograph, "TIFF"), encoded(photograph, "BMP"), encoded(photograph, "PPM"),
    ]  # fmt: skip
    refused = []
    for number in range(300):
        data = bytearray(rng.choice(files))
        kind = rng.randrange(4)
        if kind == 0:
            del data[rng.randrange(len(data)) :]
        elif kind == 1:
            for _ in range(rng.randint(1, 20)):
                data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
        elif kind == 2:
            start = rng.randrange(len(data))
            data[start:start] = rng.randbytes(rng.randint(1, 300))
        else:
            data = bytearray(rng.randbytes(rng.randint(0, 500)))
        try:
            pixels = decode_rgb(bytes(data), f"image {number}")
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
        except BadImageError as error:
            refused.append((f"image {number}", str(error)))
    assert 100 < len(refused) < 290
    assert all(name in text and "\n" not in text for name, text in refused)
