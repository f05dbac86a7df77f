"""The exact inference form of a network: norms and scales folded into weights, layers merged."""

from typing import Any

from flax import linen as nn


def deploy(model: nn.Module, variables: Any) -> tuple[nn.Module, Any]:
    """Returns (model, variables) that give the same logits with less to compute.

    Args:
      model: A model from `create_model`. Networks that have such a form have a method `deployed`;
        others, which have nothing to fold, are returned unchanged.
      variables: Its variables: "params" and, where it has them, "batch_stats" and "host".
    """
    deployed = getattr(model, "deployed", None)
    return (model, variables) if deployed is None else deployed(variables)
