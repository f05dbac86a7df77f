"""Pixels of real photographs: evaluation against torchvision, training crops antialiased."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.data.crop import NUM_UNIFORMS, CenterCrop, RandomResizedCrop


def photographs():
    """JPEGs of ordinary and of odd shapes."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    for pixels in (china, flower[:, 100:400], data.astronaut(), data.chelsea(), data.coffee()):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
        yield buffer.getvalue()


@pytest.mark.parametrize(("size", "crop_pct"), [(224, 0.875), (224, 0.95), (384, 1.0)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_pixels_equal_torchvisions_to_a_grey_level(timm, size, crop_pct, interpolation):
    from torchvision import transforms  # after `timm`, which repairs the import

    reference = transforms.Compose(
        [
            transforms.Resize(
                math.floor(size / crop_pct), transforms.InterpolationMode(interpolation)
            ),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
        ]
    )
    for data in photographs():
        expected = reference(Image.open(io.BytesIO(data)).convert("RGB")).permute(1, 2, 0).numpy()
        got = CenterCrop(size, crop_pct, interpolation)(data)
        assert np.abs(got / 255 - expected).max() <= 1 / 255


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_training_crops_are_antialiased(interpolation):
    """A fine chessboard becomes grey; without a filter as wide as the step it becomes noise."""
    board = (np.indices((450, 450)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = RandomResizedCrop(150, (1.0, 1.0), (1.0, 1.0), 0.0, interpolation)
    pixels = crop(np.repeat(board[..., None], 3, axis=2), np.full(NUM_UNIFORMS, 0.5))
    inner = pixels[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127.5).max() < 20
