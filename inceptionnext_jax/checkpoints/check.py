"""Checks of the config's `checkpoint` section."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section

WEIGHTS = ("eval", "eval_ema")  # evaluated, before the slash of a metric's key


def check_checkpoint(config: ConfigDict, metrics: Sequence[str]) -> list[str]:
    """Returns all that is wrong with the section: one sentence each.

    metrics: The names that `best_metric` may have after the slash.
    """
    checkpoint = config.checkpoint
    section = Section(checkpoint, "checkpoint")
    section.count("every_steps")
    section.flag("asynchronous")
    section.count("keep_latest", least=1)
    section.count("keep_best")
    section.choice("best_metric", [f"{weights}/{name}" for weights in WEIGHTS for name in metrics])
    averaged = section.is_set("best_metric") and checkpoint.best_metric.startswith("eval_ema")
    if averaged and config.ema_decay is None:
        section.fail("best_metric", "needs ema_decay, which is unset")
    return section.problems
