"""What timm calls our models."""

from collections.abc import Sequence

from inceptionnext_jax.models.registry import list_models

# Ours to timm's where they differ by more than the spelling of InceptionNeXt.
_OTHERS = {"inceptionnext_base_384": "inception_next_base"}


def timm_name(name: str) -> str:
    """timm's name of the architecture; where timm has none, what it would be."""
    return _OTHERS.get(name, name.replace("inceptionnext_", "inception_next_"))


def our_name(architecture: str, input_size: Sequence[int] = ()) -> str | None:
    """Our name of a timm architecture, or None if it is none of ours.

    input_size: [3, H, W] of the weights, which tells networks apart that differ in nothing else.
    """
    found = [name for name in list_models() if timm_name(name) == architecture]
    large = [name for name in found if input_size and name.endswith(f"_{input_size[-1]}")]
    return next(iter(large or sorted(found, key=len)), None)
