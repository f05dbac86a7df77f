"""The base of dense systems: a backbone, norms of its maps, and the form for inference."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Any

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

from inceptionnext_jax.models.deploy import deploy
from inceptionnext_jax.models.folding import fold_conv_norms, require_statistics
from inceptionnext_jax.models.layers.norm import BatchNorm

NormFactory = Callable[..., nn.Module]


class DenseSystem(nn.Module):
    """A backbone whose maps heads read; subclasses make these.

    Attributes:
      backbone: A network whose `features` have strides 4, 8, 16 and 32, or less with an
        `output_stride`; its classifier is not used and has no parameters.
      out_norm: Factory of a norm of each of the backbone's maps, given `dtype` and `name`.
      bn_group_size: Images that share training statistics in the heads; 0 is the whole batch.
      is_deployed: Whether norms are folded into adjacent weights, as after `deployed`.
      dtype: Type of convolutions and matrix products; results are at least float32.
    """

    backbone: nn.Module
    _: KW_ONLY
    out_norm: NormFactory | None = None
    bn_group_size: int = 0
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if self.out_norm is not None:
            self.output_norms = OutputNorms(
                self.out_norm, self.bn_group_size, self.dtype, name="out_norm"
            )

    @property
    def smallest_image(self) -> int:
        """The smallest height and width, in pixels."""
        return self.backbone.smallest_image

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the maps that the heads see: the backbone's, normalised if there is `out_norm`.

        Args:
          x: [B, H, W, 3] floats, already normalised.
          train: Use batch statistics (make "batch_stats" mutable) and drop (give rngs={"dropout":
            key} if a rate is above 0).
          positions: [B] int32, the examples' positions in the global batch, on which their drop
            masks depend; None is 0 … B - 1.

        Returns:
          [B, H / stride, W / stride, C] for each stride, in the compute dtype.
        """
        maps = self.backbone.features(x, train, positions)
        return maps if self.out_norm is None else self.output_norms(maps, train)

    @nn.nowrap
    def deployed(self, variables: Mapping[str, Any]) -> tuple["DenseSystem", dict[str, Any]]:
        """Returns the system with norms folded into weights, and its variables: same logits.

        Args:
          variables: The system's collections.

        Raises:
          UserError: The running statistics are missing, or the backbone cannot be deployed.
        """
        if self.is_deployed:
            return self, dict(variables)
        require_statistics(variables)
        inner = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
        backbone, found = deploy(self.backbone, inner)
        outer = {
            name: {part: value for part, value in tree.items() if part != "backbone"}
            for name, tree in variables.items()
        }
        params = fold_conv_norms(outer["params"], outer.get("batch_stats", {}))
        kept = {"params": params}
        if "out_norm" in outer.get("batch_stats", {}):
            kept["batch_stats"] = {"out_norm": outer["batch_stats"]["out_norm"]}
        both = {
            name: {
                **({"backbone": found[name]} if name in found else {}),
                **kept.get(name, {}),
            }
            for name in found.keys() | kept.keys()
        }
        return self.clone(backbone=backbone, is_deployed=True), both


def as_backbone(network: Any) -> Any:
    """Returns the network in the form that dense systems use, where it has a form of its own."""
    return network.as_backbone() if hasattr(network, "as_backbone") else network


class OutputNorms(nn.Module):
    """A norm for each map.

    Attributes:
      norm: Factory of a norm.
      bn_group_size: Images that share training statistics, of a `BatchNorm`.
      dtype: Type of the results.
    """

    norm: NormFactory
    bn_group_size: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool = False) -> tuple[jax.Array, ...]:
        """Maps [B, h, w, C] each to the same shape."""
        norm = self.norm
        if norm is BatchNorm:
            norm = functools.partial(norm, self.bn_group_size)
        return tuple(norm(dtype=self.dtype, name=f"norm_{i}")(x, train) for i, x in enumerate(maps))
