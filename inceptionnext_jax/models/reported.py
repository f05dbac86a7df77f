"""Accuracies that papers report."""

from typing import NamedTuple


class Report(NamedTuple):
    """A reported accuracy of a network with certain weights; not measured here.

    Attributes:
      top1: On ImageNet-1K, a fraction; at the model's own size unless `weights` names another.
      source: Its source.
      weights: The weights that it belongs to.
    """

    top1: float
    source: str
    weights: str

    def __str__(self) -> str:
        return f"{round(100 * self.top1, 2)} % ({self.weights}; {self.source})"
