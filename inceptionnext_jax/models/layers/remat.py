"""What the backward pass recomputes in each block instead of keeping it, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

# Given to `checkpoint_name` for what a token mixer puts out.
MIXED = "token_mixer"

# What is kept of a block beside its input. Convolutions with kernels are no matrix products.
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
      target: Whose activations are to be recomputed.
      remat: One of `CHOICES`: False leaves `target` as it is, True is "full".
      **options: Of `flax.linen.remat`.
    """
    if not remat:
        return target
    policy = POLICIES[remat if isinstance(remat, str) else "full"]
    return nn.remat(target, policy=policy, **options)
