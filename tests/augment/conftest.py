"""Real photographs for the comparisons with Pillow."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """[5, 96, 112, 3] uint8: five photographs from scikit-learn and scikit-image."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    sources = [*load_sample_images().images]
    sources += [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    sized = []
    for source in sources:
        image = Image.fromarray(np.asarray(source)[:, :, :3])
        sized.append(np.asarray(image.resize((112, 96), Image.Resampling.BICUBIC)))
    # One with a narrow range, which autocontrast and equalize must stretch.
    sized[3] = (sized[3] // 3 + 40).astype(np.uint8)
    return np.stack(sized)
