"""What several processes must decide alike: one that fails alone would leave the others waiting."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from inceptionnext_jax.errors import RunError, UserError

_ROOM = 16384  # bytes of JSON that a process can say
_ERRORS: dict[str, type[Exception]] = {"UserError": UserError, "RunError": RunError}


def on_first(action: Callable[[], Any]) -> Any:
    """Returns on all processes what `action`, called on the first, returned there: plain JSON.

    A UserError or RunError is raised on all.
    """
    return together(action if jax.process_index() == 0 else lambda: None)[0]


def together(action: Callable[[], Any]) -> list[Any]:
    """Calls `action` on all processes and returns what each returned: plain JSON.

    Where one raised a UserError or RunError, all raise the first such error.
    """
    if jax.process_count() == 1:
        return [action()]
    try:
        said = {"value": action()}
    except (UserError, RunError) as error:
        said = {"error": type(error).__name__, "text": str(error)[: _ROOM // 4]}
    answers = _exchange(said)
    for answer in answers:
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"])
    return [answer["value"] for answer in answers]


def _exchange(said: dict[str, Any]) -> list[dict[str, Any]]:
    text = json.dumps(said).encode()
    buffer = np.zeros(_ROOM, np.uint8)
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(buffer)).reshape(-1, _ROOM)
    return [json.loads(row.tobytes().rstrip(b"\0")) for row in rows]
