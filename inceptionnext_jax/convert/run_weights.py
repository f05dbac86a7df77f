"""Weights to start from, of a chosen step and kind: WORKDIR:best,ema."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inceptionnext_jax.checkpoints.reading import find_best_step
from inceptionnext_jax.convert.load import Say, load_weights
from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.runtime.multihost import on_process_zero
from inceptionnext_jax.types import Variables
from inceptionnext_jax.workdir.storage import in_bucket, storage_path

STEPS = ("newest", "best")
KINDS = ("params", "ema")


class Choice(NamedTuple):
    """A source of weights and which of a run's to take.

    Attributes:
      source: As in `load.locate_source`.
      step: One of STEPS; "" is the newest, and the source may be a step or a file.
      kind: One of KINDS; "" is the averages where there are any.
    """

    source: str
    step: str = ""
    kind: str = ""


def parse_choice(given: str) -> Choice:
    """Splits a source from the words behind its last colon, separated by commas.

    Raises UserError for unknown words behind a folder, and for two that exclude each other.
    """
    source, _, behind = given.rpartition(":")
    words, known = behind.split(","), (*STEPS, *KINDS)
    unknown = [word for word in words if word not in known]
    if not source or (len(unknown) == len(words) and not _is_folder(source)):
        return Choice(given)  # the colon is part of the name
    if unknown:
        raise UserError(
            f"init_from={given}: {unknown[0]!r} is not one of {', '.join(known)}"
            f"{suggestion(unknown[0], known)}"
        )
    step, kind = (",".join(word for word in words if word in group) for group in (STEPS, KINDS))
    for several in (step, kind):
        if "," in several:
            raise UserError(
                f"init_from={given}: {several.replace(',', ' and ')} exclude each other; name one"
            )
    return Choice(source, step, kind)


def _is_folder(source: str) -> bool:
    return "://" not in source and Path(source).expanduser().is_dir()


def load_start(
    given: str, model_name: str, stage_depths: Sequence[int] | None, say: Say
) -> tuple[Variables, dict[str, Any]]:
    """Returns (variables, meta) as host arrays in the plain tree.

    given: A source as in `load.locate_source`; behind a run's folder may stand ":" and words:
      newest or best (by the run's checkpoint.best_metric; the newest where nothing was evaluated),
      params or ema. The default is the newest step, and its averages where there are any.
    say: Receives the choices made.
    Raises UserError as `load.load_weights`, and where there is no such step or kind.
    """
    source, step, kind = parse_choice(given)
    taken = source
    if step == "best":
        taken = on_process_zero(lambda: _best_step(source))
        if not taken:
            raise UserError(f"init_from={given}: {source} is no workdir with checkpoints")
        say(f"init_from={given}: taking step {taken.rpartition('/')[2]}")
    variables, averages, meta = load_weights(taken, model_name, stage_depths, say)
    if (step or kind) and not meta:
        raise UserError(
            f"init_from={given}: only a run has {step or kind}; {source} is a weight file"
        )
    if kind == "ema" and averages is None:
        raise UserError(
            f"init_from={given}: the run kept no averages (ema_decay was unset); take params"
        )
    if averages is None or kind == "params":
        return variables, meta
    say(f"init_from={given}: taking the averaged weights")
    return averages, meta


def _best_step(source: str) -> str:
    """The folder of a run's best step, or ""."""
    path = storage_path(source)
    if not in_bucket(path) and not path.is_dir():
        return ""
    return str(find_best_step(path) or "")
