"""The pointing game: its boxes hold the digits, and a trained network points into them."""

import jax
import numpy as np
import pytest

from benchmarks import pointing_game as game


def test_boxes_hold_the_ink():
    """Noise is darker than half of white, ink is brighter: bright pixels lie in the box."""
    _, held_out = game.load_digits()
    images, corners = game.paste(jax.random.key(0), held_out.images[:20])
    assert len(np.unique(np.asarray(corners), axis=0)) > 15
    for pixels, (top, left) in zip(np.asarray(images), np.asarray(corners), strict=True):
        rows, columns = np.nonzero(pixels.min(-1) > 128)
        assert len(rows) > 20
        assert top <= rows.min() <= rows.max() < top + game.DIGIT
        assert left <= columns.min() <= columns.max() < left + game.DIGIT


@pytest.mark.slow
def test_maxima_lie_in_the_digits_boxes():
    task, (digits, held_out) = game.make_task(), game.load_digits()
    variables = game.train(task, digits)
    found = game.play(task, variables, held_out, "gradcam")
    assert 2 * game.CANVAS / found.maps.shape[1] < game.DIGIT
    assert found.scores["top1"] >= 0.95
    assert found.scores["hits"] >= 0.90
