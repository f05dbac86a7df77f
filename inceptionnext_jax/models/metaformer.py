"""The block that PoolFormer and the Transformers share: two residuals, each after its own norm.

What mixes the positions is an option (MetaFormer, CVPR 2022); MetaNeXt merges the two residuals.
"""

from collections.abc import Callable

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.drop import DropNoise, drop_path
from inceptionnext_jax.models.layers.linear import LayerScale
from inceptionnext_jax.models.layers.remat import MIXED
from inceptionnext_jax.models.metanext import Mlp


class MetaFormerBlock(nn.Module):
    """x + gamma1 * Mixer(Norm(x)), then x + gamma2 * MLP(Norm(x)), each with its own drop path.

    Attributes:
      mixer: Makes the token mixer from `dtype` and `name`.
      norm: Makes the norms likewise.
      mixer_name: The mixer's place in the parameters.
      layer_scale_init: First value of gamma1 and gamma2; 0 for none.
      dtype: Of the computation.
    """

    mixer: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    mixer_name: str = "attn"
    layer_scale_init: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        noise: DropNoise | None,
        rate: float | jax.Array,
        place: int,
        train: bool = False,
    ) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape; arguments are those of `metanext.Block`."""
        mixer = self.mixer(dtype=self.dtype, name=self.mixer_name)
        mlp = Mlp(4 * x.shape[-1], self.dtype, name="mlp")
        for i, layer in enumerate((mixer, mlp)):
            y = layer(self.norm(dtype=self.dtype, name=f"norm{i + 1}")(x))
            if layer is mixer:
                y = checkpoint_name(y, MIXED)
            if self.layer_scale_init:
                y = LayerScale(self.layer_scale_init, self.dtype, name=f"layer_scale{i + 1}")(y)
            if noise is not None:
                y = drop_path(y, noise, 2 * place + i, rate)
            x = x + y
        return x


def head_place(depths: tuple[int, ...]) -> int:
    """Returns the number of a network's head for its dropout, after both of each block's."""
    return 2 * sum(depths)
