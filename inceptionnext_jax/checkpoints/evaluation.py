"""The evaluation of a saved step: a file that its folder receives afterwards.

A step is saved before it is evaluated, so its manifest cannot list this file; it carries its own
checksum instead.
"""

import hashlib
import json
import os
from typing import Any, NamedTuple

from inceptionnext_jax.workdir import storage
from inceptionnext_jax.workdir.storage import StoragePath

NAME = "EVALUATION.json"
_OLD = ("metrics", "metrics")  # in steps that were saved after their evaluation


class Evaluation(NamedTuple):
    """Attributes:
    scores: Metrics by key, such as "eval/top1".
    best: The run's best evaluation up to this one; unknown (None) in old steps.
    """

    scores: dict[str, float]
    best: dict[str, Any] | None = None


def write_evaluation(step: StoragePath, evaluation: Evaluation) -> None:
    """Writes the file into a step's folder; no reader sees it half written."""
    content = {"scores": evaluation.scores, "best": evaluation.best}
    text = json.dumps({"evaluation": content, "sha256": _checksum(content)})
    if storage.in_bucket(step):
        (step / NAME).write_text(text)
        return
    # In the step's folder a temporary file that a kill leaves would count as damage.
    temporary = step.parent / f".{NAME}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, step / NAME)


def read_evaluation(step: StoragePath) -> Evaluation | None:
    """The evaluation in a step's folder; None where there is none, or its file is damaged."""
    try:
        read = json.loads((step / NAME).read_text(encoding="utf-8"))
        content = read["evaluation"]
        if read["sha256"] != _checksum(content):
            return None
        return Evaluation(_scores(content["scores"]), content["best"])
    except FileNotFoundError:
        return _read_old(step)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read_old(step: StoragePath) -> Evaluation | None:
    try:
        return Evaluation(_scores(json.loads(step.joinpath(*_OLD).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _scores(given: Any) -> dict[str, float]:
    return {str(key): float(value) for key, value in given.items()}


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
