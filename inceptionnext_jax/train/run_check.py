"""Checks of the keys that the training loop itself uses, and of the sections of its helpers."""

from ml_collections import ConfigDict

from inceptionnext_jax.checks import Section
from inceptionnext_jax.models.registry import DTYPES

ON_NAN = ("stop", "skip")


def check_run(config: ConfigDict) -> list[str]:
    """Returns all that is wrong with the keys outside sections, and with eval, stop, log, profile.

    One sentence each. Durations are the schedule's to check, the batch is the mesh's.
    """
    run = Section(config)
    run.choice("compute_dtype", DTYPES)
    run.choice("on_nan", ON_NAN)
    run.count("skip_limit")
    run.count("seed", below=2**32)
    run.text("init_from", optional=True)
    run.fraction("ema_decay", one=False, optional=True)
    run.flag("debug_nans")
    run.text("compilation_cache")
    evaluation = Section(config.eval, "eval")
    evaluation.count("every_steps")
    stop = Section(config.stop, "stop")
    stop.count("patience", least=1, optional=True)
    log = Section(config.log, "log")
    log.count("every_steps", least=1)
    log.flag("tensorboard")
    log.flag("wandb")
    profile = Section(config.profile, "profile")
    profile.count("start")
    profile.count("steps")
    sections = (run, evaluation, stop, log, profile)
    return [problem for section in sections for problem in section.problems]
