"""The pointing game's boxes are right."""

import numpy as np

from benchmarks import pointing_game as game


def test_boxes_are_where_the_ink_is(tmp_path):
    """Noise stays below half of white, ink does not: the box holds all that is bright."""
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    for digit in load_digits().images[:20]:
        pixels, (top, left) = game.paste(digit, random)
        rows, columns = np.nonzero(pixels.min(-1) > 128)
        assert len(rows) > 20
        assert top <= rows.min() <= rows.max() < top + game.DIGIT
        assert left <= columns.min() <= columns.max() < left + game.DIGIT
