"""InceptionNeXt and its relatives in JAX/Flax."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inceptionnext_jax.models import create_model, deploy, list_models, model_info
    from inceptionnext_jax.pretrained import (
        Pretrained,
        load_model,
        load_pretrained,
        predict,
        save_pretrained,
    )

__version__ = "0.1.0"
__all__ = [
    "Pretrained",
    "__version__",
    "create_model",
    "deploy",
    "list_models",
    "load_model",
    "load_pretrained",
    "model_info",
    "predict",
    "save_pretrained",
]
_HOMES = {
    **dict.fromkeys(("create_model", "deploy", "list_models", "model_info"), "models"),
    **dict.fromkeys(
        ("Pretrained", "load_model", "load_pretrained", "predict", "save_pretrained"), "pretrained"
    ),
}


def __getattr__(name: str) -> Any:
    """Imports public names on first use, so that help pages do not wait for jax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
