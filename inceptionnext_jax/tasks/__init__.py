"""Jobs: what a loss, a prediction and a metric are."""

from inceptionnext_jax.tasks.build import build_task

__all__ = ["build_task"]
