"""The confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inceptionnext_jax.files import replaced

NAMED_UP_TO = 40  # classes whose names are legible along an axis


def draw_confusion(
    matrix: np.ndarray, names: Sequence[str], path: Path, title: str, counts: bool = True
) -> None:
    """Draws row-normalised counts.

    Args:
      matrix: [K, K], rows true, columns predicted.
      names: Class names.
      path: The PNG file to write.
      title: Above the picture.
      counts: Whether cells show their counts, otherwise their shares.
    """
    from matplotlib.figure import Figure  # slow to import, and few calls need it

    classes = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.42 * classes + 2, 6, 14))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    if classes <= NAMED_UP_TO:
        axes.set_xticks(range(classes), names, rotation=90)
        axes.set_yticks(range(classes), names)
        shown = matrix if counts else shares >= 0.005  # smaller ones would read 0.00
        for row, column in np.argwhere(shown):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = str(matrix[row, column]) if counts else f"{shares[row, column]:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
