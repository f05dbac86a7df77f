"""Feature pyramid network (CVPR 2017), as in mmsegmentation and mmdetection."""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.layers.conv import strided_conv
from inceptionnext_jax.models.layers.resize import resize_nearest


class Fpn(nn.Module):
    """Gives all maps the same channels and adds to each the one above, enlarged.

    Attributes:
      channels: Channels of the results.
      start: Index of the first map that is used.
      extra: Further levels above: "none"; "pool", one more by leaving out every second position
        (Mask R-CNN); "conv", two more by convolutions of stride 2 (RetinaNet).
      dtype: Compute type.
    """

    channels: int = 256
    start: int = 0
    extra: str = "none"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        """Maps [B, h / 2^i, w / 2^i, C_i] to [B, h / 2^i, w / 2^i, channels]."""
        maps = maps[self.start :]
        levels = [self._conv(1, f"lateral_convs_{i}")(x) for i, x in enumerate(maps)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] += resize_nearest(levels[i], levels[i - 1].shape[1:3])
        results = [self._conv(3, f"fpn_convs_{i}")(x) for i, x in enumerate(levels)]
        if self.extra == "pool":
            results.append(results[-1][:, ::2, ::2])
        elif self.extra == "conv":
            x = maps[-1]
            for i in range(len(results), len(results) + 2):
                x = self._conv(3, f"fpn_convs_{i}", stride=2)(x)
                results.append(x)
        return tuple(results)

    @nn.nowrap
    def _conv(self, size: int, name: str, stride: int = 1) -> nn.Conv:
        init = nn.initializers.xavier_uniform()
        return strided_conv(self.channels, size, stride, self.dtype, name, kernel_init=init)
