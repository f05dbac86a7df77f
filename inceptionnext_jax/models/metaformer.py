"""The block that PoolFormer and the Transformers share: two residuals, each after its own norm.

The token mixer is an option (MetaFormer, CVPR 2022); MetaNeXt merges the two residuals.
"""

from collections.abc import Callable

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.layer_scale import LayerScale
from inceptionnext_jax.models.layers.remat import MIXED
from inceptionnext_jax.models.metanext import Mlp


class MetaFormerBlock(nn.Module):
    """x + gamma1 * Mixer(Norm(x)), then x + gamma2 * MLP(Norm(x)), each with its own drop path.

    Attributes:
      mixer: Factory of the token mixer, given `dtype` and `name`.
      norm: Factory of the norms, given the same.
      mixer_name: Name of the mixer in the parameters.
      mlp_ratio: Hidden channels of the MLP over C.
      layer_scale_init: Initial value of gamma1 and gamma2; 0 for none.
      dtype: Compute type.
    """

    mixer: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    mixer_name: str = "attn"
    mlp_ratio: int = 4
    layer_scale_init: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        block_index: int,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape; arguments are those of `metanext.Block`."""
        mixer = self.mixer(dtype=self.dtype, name=self.mixer_name)
        mlp = Mlp(self.mlp_ratio * x.shape[-1], self.dtype, name="mlp")
        for i, layer in enumerate((mixer, mlp)):
            y = layer(self.norm(dtype=self.dtype, name=f"norm{i + 1}")(x))
            if layer is mixer:
                y = checkpoint_name(y, MIXED)
            if self.layer_scale_init:
                y = LayerScale(self.layer_scale_init, self.dtype, name=f"layer_scale{i + 1}")(y)
            if noise is not None:
                y = drop_path(y, noise, 2 * block_index + i, rate)
            x = x + y
        return x


def head_drop_index(depths: tuple[int, ...]) -> int:
    """Returns the index of the head's dropout mask, which follows the two of each block."""
    return 2 * sum(depths)
