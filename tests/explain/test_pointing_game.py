"""Heat maps point at what was to be found, in a network trained here."""

import numpy as np
import pytest
from PIL import Image

import inceptionnext_jax as inx
from benchmarks import pointing_game as game


@pytest.mark.slow
def test_maps_point_at_digits_on_noise(tmp_path):
    boxes = game.write_images(tmp_path / "images", copies=game.COPIES)
    game.train(tmp_path / "images", tmp_path / "run", epochs=game.EPOCHS)
    network = inx.load_pretrained(tmp_path / "run")
    for method in ("gradcam", "gradcam++"):
        result = game.play(network, boxes, method, "stages_3")
        assert result["images"] == 359
        assert result["top1"] > 0.9, result["top1"]
        assert result["hits"] >= 0.9, (method, result["hits"])
    game.draw(tmp_path / "run", result, tmp_path / "cam.png")
    with Image.open(tmp_path / "cam.png") as picture:
        assert np.asarray(picture).std() > 20
    arrays = np.load(tmp_path / "cam.npz")
    labels = [path.split("/")[-2] for path in arrays["paths"]]
    right = [
        network.class_names[k] == name for k, name in zip(arrays["classes_0"], labels, strict=True)
    ]
    assert sum(right) == game.SHOWN


def test_boxes_are_where_the_ink_is(tmp_path):
    """Noise stays below 100, ink does not: the box holds all that is bright."""
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    for digit in load_digits().images[:20]:
        pixels, (top, left) = game.paste(digit, random)
        rows, columns = np.nonzero(pixels.min(-1) > 128)
        assert len(rows) > 20
        assert top <= rows.min() <= rows.max() < top + game.DIGIT
        assert left <= columns.min() <= columns.max() < left + game.DIGIT
