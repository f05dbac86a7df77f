"""timm's names of our models."""

from collections.abc import Sequence

from inceptionnext_jax.models.registry import list_models, model_info


def timm_name(name: str) -> str:
    """Returns timm's name of the architecture, or one in its style where timm has none.

    Published weights lie at timm/<architecture>.<training data>.
    """
    owner, _, weights = model_info(name).hub_id.partition("/")
    architecture = weights.partition(".")[0] if owner == "timm" else ""
    return architecture or name.replace("inceptionnext_", "inception_next_")


def our_name(architecture: str, input_size: Sequence[int] = ()) -> str | None:
    """Returns our name of a timm architecture, or None if there is no such model.

    input_size: [3, H, W] of the weights, which distinguishes networks that differ in nothing else.
    """
    found = [name for name in list_models() if timm_name(name) == architecture]
    large = [name for name in found if input_size and name.endswith(f"_{input_size[-1]}")]
    return next(iter(large or sorted(found, key=len)), None)
