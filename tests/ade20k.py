"""A miniature ADE20K: the real layout, a few photographs of different sizes, label maps with 0."""

from pathlib import Path

import numpy as np
from PIL import Image

NUM_TRAIN, NUM_EVAL = 8, 4


def write_ade20k(folder: Path, num_train: int = NUM_TRAIN, num_eval: int = NUM_EVAL) -> Path:
    """Writes `folder`/ADEChallengeData2016 and returns its path."""
    root = folder / "ADEChallengeData2016"
    for split, short, count in (("training", "train", num_train), ("validation", "val", num_eval)):
        for number in range(count):
            image, ids = _pair(number + 1000 * (split == "validation"))
            for kind, array, suffix in (("images", image, "jpg"), ("annotations", ids, "png")):
                path = root / kind / split / f"ADE_{short}_{number + 1:08d}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return root


def _pair(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph's crop and ids that follow its brightness, from 0 to 150, both among them."""
    from sklearn.datasets import load_sample_image

    photo = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
    rng = np.random.default_rng(number)
    height, width = rng.integers(70, 150, 2)
    top, left = rng.integers(0, photo.shape[0] - height), rng.integers(0, photo.shape[1] - width)
    image = photo[top : top + height, left : left + width]
    ids = (image.mean(2) // 86 * 50 + number % 50).astype(np.uint8)
    ids[:8], ids[-8:] = 0, 150
    return image, ids
