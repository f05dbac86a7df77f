"""Policies of recomputing blocks in the backward pass instead of keeping activations, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

# Name of a token mixer's output for `checkpoint_name`.
MIXED = "token_mixer"

# Activations of a block that are kept besides its input. Convolutions are not matrix products.
POLICIES: Mapping[str, Callable[..., Any] | None] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "mixer": jax.checkpoint_policies.save_only_these_names(MIXED),
}
CHOICES: tuple[bool | str, ...] = (False, True, *POLICIES)
MEANINGS: Mapping[bool | str, str] = {
    False: "nothing",
    True: "whole blocks",
    "full": "whole blocks",
    "dots": "blocks but for their linear layers",
    "mixer": "blocks but for their token mixers",
}


def recomputed(target: Any, remat: bool | str, **options: Any) -> Any:
    """Wraps a module class, or a function of a module, by `flax.linen.remat`.

    Args:
      target: The module class or function whose activations are recomputed.
      remat: One of `CHOICES`: False leaves `target` as it is, True is "full".
      **options: Further options of `flax.linen.remat`.
    """
    if not remat:
        return target
    policy = POLICIES[remat if isinstance(remat, str) else "full"]
    return nn.remat(target, policy=policy, **options)
