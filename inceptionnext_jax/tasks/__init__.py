"""Tasks by name. A task is a package here, or registered from elsewhere."""

import importlib
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.errors import UserError, suggestion

if TYPE_CHECKING:
    from inceptionnext_jax.tasks.kind import TaskKind

# Modules are imported when they are used: loader processes need little of them.
_KINDS: dict[str, Any] = {
    name: f"{__name__}.{name}.build" for name in ("classification", "segmentation", "detection")
}


def task_names() -> list[str]:
    """The values that config.task may have."""
    return sorted(_KINDS)


def task_kind(name: str) -> "TaskKind":
    """The kind of task behind a name; raises UserError when it is unknown."""
    if name not in _KINDS:
        raise UserError(
            f"task={name!r} is not one of {', '.join(task_names())}"
            f"{suggestion(str(name), task_names())}"
        )
    kind = _KINDS[name]
    return importlib.import_module(kind) if isinstance(kind, str) else kind


def register_task(name: str, kind: "TaskKind | str") -> None:
    """Adds a task from outside of the package.

    kind: a `TaskKind`, such as a module with its functions, or the dotted name of the module.
    """
    _KINDS[name] = kind
