"""InceptionNeXt and its relatives in JAX/Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inceptionnext_jax.models import create_model, deploy, list_models, model_info

__version__ = "0.1.0"
__all__ = ["__version__", "create_model", "deploy", "list_models", "model_info"]


def __getattr__(name: str) -> Any:
    """Imports models at the first use, so that help pages need not wait for jax."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inceptionnext_jax import models

    return getattr(models, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
