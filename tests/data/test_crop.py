import io
import math
import random

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.crop import (
    NUM_UNIFORMS,
    TRIES,
    CenterCrop,
    RandomResizedCrop,
    random_box,
)
from inceptionnext_jax.data.decode import _is_plain_jpeg, decode_pil, decode_rgb
from inceptionnext_jax.errors import UserError

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def photo(height, width, seed=0):
    """A smooth picture with noise, [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def encode(pixels, kind="JPEG", mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# --- decoding ---


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("shape", [(48, 64), (375, 500), (61, 33), (1, 7)])
def test_fast_jpeg_decoding_gives_pillows_pixels(subsampling, progressive, shape):
    for quality in (40, 75, 95):
        data = encode(
            photo(*shape), quality=quality, subsampling=subsampling, progressive=progressive
        )
        assert _is_plain_jpeg(data)
        np.testing.assert_array_equal(decode_rgb(data), pillow(data))


@pytest.mark.parametrize(
    ("kind", "mode", "plain"),
    [
        ("JPEG", "L", True),
        ("JPEG", "CMYK", False),
        ("PNG", "RGB", False),
        ("PNG", "RGBA", False),
        ("PNG", "P", False),
        ("PNG", "LA", False),
        ("WEBP", "RGB", False),
        ("BMP", "RGB", False),
        ("GIF", "P", False),
    ],
)
def test_every_kind_of_file_gives_pillows_pixels(kind, mode, plain):
    data = encode(photo(40, 56), kind, mode)
    assert _is_plain_jpeg(data) == plain
    np.testing.assert_array_equal(decode_rgb(data), pillow(data))


def test_exif_orientation_is_ignored_by_both_decoders():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    data = encode(photo(40, 56), exif=exif.tobytes())
    assert _is_plain_jpeg(data)
    np.testing.assert_array_equal(decode_rgb(data), pillow(data))
    assert decode_rgb(data).shape == (40, 56, 3)


def test_cmyk_is_left_to_pillow_whatever_its_marker_says():
    data = encode(photo(40, 56), mode="CMYK")
    at = data.index(b"Adobe") + 11  # the colour transform: 0 is CMYK, 2 is YCCK
    for transform in (b"\x00", b"\x02"):
        changed = data[:at] + transform + data[at + 1 :]
        assert not _is_plain_jpeg(changed)
        np.testing.assert_array_equal(decode_rgb(changed), pillow(changed))


def test_truncated_jpegs_are_left_to_pillow_which_refuses_them():
    data = encode(photo(100, 100))
    assert _is_plain_jpeg(data)
    assert not _is_plain_jpeg(data[:-2])
    assert not _is_plain_jpeg(data[: len(data) // 2])


def test_comments_and_adobe_markers_are_skipped():
    data = encode(photo(40, 56), comment=b"\xff\xc0 not a frame header" * 40)
    assert _is_plain_jpeg(data)
    np.testing.assert_array_equal(decode_rgb(data), pillow(data))
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    rgb_coded = data[:2] + adobe + b"\x00" + data[2:]
    assert not _is_plain_jpeg(rgb_coded)
    ycc_coded = data[:2] + adobe + b"\x01" + data[2:]
    assert _is_plain_jpeg(ycc_coded)
    np.testing.assert_array_equal(decode_rgb(rgb_coded), pillow(rgb_coded))
    np.testing.assert_array_equal(decode_rgb(ycc_coded), pillow(ycc_coded))


@pytest.mark.parametrize("decode", [decode_pil, decode_rgb])
def test_damaged_files_are_named(decode):
    whole = encode(photo(100, 100))
    for data in (b"", b"\xff\xd8", b"hello", whole[:20], whole[: len(whole) // 2]):
        with pytest.raises(UserError, match=r"cannot decode cat\.jpg"):
            decode(data, "cat.jpg")


# --- the training crop ---


def boxes(height, width, count=3000, scale=SCALE, ratio=RATIO):
    rng = np.random.default_rng(1)
    uniforms = rng.random((count, 4 * TRIES))
    return np.array([random_box(u, height, width, scale, ratio) for u in uniforms])


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (224, 224), (33, 40)])
def test_random_boxes_lie_inside_and_keep_area_and_aspect(shape):
    height, width = shape
    top, left, h, w = boxes(height, width).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    slack = 1 + 1.5 / min(h.min(), w.min())  # boxes are whole pixels
    assert (w / h >= 0.75 / slack).all()
    assert (w / h <= 4 / 3 * slack).all()
    area = h * w / (height * width)
    assert area.min() >= 0.08 / slack**2
    assert area.max() > 0.9
    # A small box reaches all positions, the last row and column included.
    small = area < 0.2
    assert top[small].min() == 0 or height > 100
    assert (top + h == height).any()
    assert (left + w == width).any()


def test_random_boxes_are_distributed_as_stated():
    """Compares with a plain rejection sampler on Python's own random numbers."""
    rng = random.Random(0)

    def plain():
        while True:
            area = rng.uniform(*SCALE) * 375 * 500
            aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w <= 500 and h <= 375:
                return rng.randint(0, 375 - h), rng.randint(0, 500 - w), h, w

    assert_alike(boxes(375, 500), np.array([plain() for _ in range(3000)]))


def test_crops_equal_torchvisions(timm):
    """Random boxes alike in distribution, evaluation pixels identical."""
    import torch
    from torchvision import transforms  # after `timm`, which repairs the import

    torch.manual_seed(0)
    sample = transforms.RandomResizedCrop.get_params
    like = torch.zeros(3, 375, 500)
    theirs = np.array([sample(like, SCALE, RATIO) for _ in range(3000)])
    assert_alike(boxes(375, 500), theirs)
    for shape, short, size in (((375, 333), 256, 224), ((60, 97), 41, 64), ((64, 200), 33, 33)):
        data = encode(photo(*shape))
        reference = transforms.Compose([transforms.Resize(short), transforms.CenterCrop(size)])
        expected = np.asarray(reference(Image.open(io.BytesIO(data)).convert("RGB")))
        crop_pct = size / (short + 0.5)
        got = CenterCrop(size, crop_pct, "bilinear")(data)
        np.testing.assert_array_equal(got, expected)


def assert_alike(ours, theirs):
    """Quantiles of area, aspect and position agree, for boxes of a 375x500 image."""
    for statistic in (
        lambda b: b[:, 2] * b[:, 3] / (375 * 500),
        lambda b: np.log(b[:, 3] / b[:, 2]),
        lambda b: b[:, 0] / 375,
        lambda b: b[:, 1] / 500,
    ):
        q = np.linspace(0.05, 0.95, 10)
        got, want = (np.quantile(statistic(sample), q) for sample in (ours, theirs))
        np.testing.assert_allclose(got, want, atol=0.05)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((100, 1000), (0, 433, 100, 133)),  # too wide: height kept, aspect 4/3
        ((1000, 100), (433, 0, 133, 100)),  # too tall: width kept, aspect 3/4
        ((100, 110), (0, 0, 100, 110)),  # aspect allowed: the whole image
    ],
)
def test_fallback_is_the_largest_centred_box_of_allowed_aspect(shape, box):
    # Areas of twenty images never fit.
    assert random_box(np.full(4 * TRIES, 0.5), *shape, (20.0, 20.0), RATIO) == box


def test_first_fitting_try_is_taken():
    uniforms = np.full(4 * TRIES, 0.999)
    uniforms[1::4] = 0.5  # square boxes; area 0.999 of 100x300 does not fit
    uniforms[8:12] = [0.1, 0.5, 0.0, 0.999]
    top, left, h, w = random_box(uniforms, 100, 300, SCALE, RATIO)
    side = round(math.sqrt((0.08 + 0.92 * 0.1) * 100 * 300))
    assert (h, w) == (side, side)
    assert top == 0
    assert left == 300 - side


def test_training_pixels_are_pillows_resize_of_the_box():
    data = encode(photo(120, 160))
    uniforms = np.random.default_rng(3).random(NUM_UNIFORMS)
    top, left, h, w = random_box(uniforms[2:], 120, 160, SCALE, RATIO)
    for u_flip, u_kind, kind in (
        (0.9, 0.1, Image.Resampling.BILINEAR),
        (0.1, 0.9, Image.Resampling.BICUBIC),
    ):
        uniforms[:2] = u_flip, u_kind
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        expected = picture.crop((left, top, left + w, top + h)).resize((64, 64), kind)
        if u_flip < 0.5:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        got = RandomResizedCrop(64, SCALE, RATIO, 0.5, "random")(data, uniforms)
        np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2)])
def test_tiny_images_can_be_cropped(shape):
    pixels = photo(*shape)
    crop = RandomResizedCrop(8, SCALE, RATIO, 0.5, "bicubic")
    for seed in range(50):
        out = crop(pixels, np.random.default_rng(seed).random(NUM_UNIFORMS))
        assert out.shape == (8, 8, 3)


# --- the evaluation crop ---


def pillow_centre(data, size, crop_pct, kind):
    """The contract in plain Pillow: short side to floor(size / crop_pct), then the centre."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    short = math.floor(size / crop_pct)
    width, height = picture.size
    if width <= height:
        picture = picture.resize((short, int(short * height / width)), kind)
    else:
        picture = picture.resize((int(short * width / height), short), kind)
    width, height = picture.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (256, 256), (120, 90), (61, 400)])
@pytest.mark.parametrize(("size", "crop_pct"), [(224, 0.875), (224, 0.95), (96, 1.0), (65, 0.9)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_equals_pillow(shape, size, crop_pct, interpolation):
    data = encode(photo(*shape))
    expected = pillow_centre(data, size, crop_pct, Image.Resampling[interpolation.upper()])
    got = CenterCrop(size, crop_pct, interpolation)(data)
    np.testing.assert_array_equal(got, expected)


def test_imagenet_photo_is_resized_to_341x256():
    data = encode(photo(375, 500))
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture = picture.resize((341, 256), Image.Resampling.BICUBIC)
    expected = picture.crop((58, 16, 58 + 224, 16 + 224))  # 58 is 58.5 rounded to even
    got = CenterCrop(224, 0.875, "bicubic")(data)
    np.testing.assert_array_equal(got, np.asarray(expected))


def test_image_smaller_than_the_crop_is_padded_with_zeros():
    pixels = photo(41, 50)
    got = CenterCrop(64, 64 / 41.5, "bilinear")(pixels)
    expected = np.zeros((64, 64, 3), np.uint8)
    expected[11:52, 7:57] = pixels  # the odd row of padding goes below
    np.testing.assert_array_equal(got, expected)
