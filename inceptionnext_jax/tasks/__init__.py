"""Jobs: what a loss, a prediction and a metric are."""

from inceptionnext_jax.tasks.classification.build import build_task, check_labels

__all__ = ["build_task", "check_labels"]
