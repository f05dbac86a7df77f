"""VanillaNet (NeurIPS 2023): no shortcuts, no attention; depth 5 to 13, most of it in the width.

A layer is two products with a leaky ReLU between, whose slope training raises from 0 to 1, perhaps
a max pooling, and an activation that mixes each channel's neighbourhood. At slope 1 the two
products are one, so that the trained network is `deployed` with half of its layers.

The slope lies with the running statistics, as "batch_stats"/"slope": weights are evaluated, saved
and averaged together with the slope that they were trained with. Training sets it
(`schedule.slope_epochs`); as initialised it is 1.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models import folding
from inceptionnext_jax.models.layers.drop import DropNoise, dropout
from inceptionnext_jax.models.layers.linear import (
    adaptive_max_pool,
    dense,
    max_pool_2x2,
    param_dtype,
    patch_conv,
)
from inceptionnext_jax.models.layers.norm import BatchNorm
from inceptionnext_jax.models.layers.remat import recomputed
from inceptionnext_jax.models.network import Network, check_images
from inceptionnext_jax.models.registry import ModelInfo, register_model
from inceptionnext_jax.ops.depthwise import depthwise_conv

EPSILON = 1e-6  # of every BatchNorm


class VanillaNet(Network):
    """Stem, stages of layers of one width and resolution, and a classifier.

    Attributes, beside those of `Network`, whose blocks are layers here:
      stem_dim: Channels of the stem at width 1.
      stage_dims: Channels per stage at width 1. Each stage begins with a pooling, but for the first
        of four, which keeps the stem's resolution.
      width: Factor of all channels.
      stem_stride: Pixels between the stem's windows of 4×4; below 4 they overlap.
      pooled_sizes: Side of each stage's maps by adaptive pooling, whatever the image's; None
        halves the resolution.
      act_num: Positions to each side that the activation sees (n in section 3.2).
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      depthwise_impl: Which implementation in `ops.depthwise` to use.
      is_deployed: The deployed form: one product a layer, no norms, no slope.
    """

    stage_dims: Sequence[int]
    stem_dim: int = 512
    width: float = 1.0
    stem_stride: int = 4
    pooled_sizes: Sequence[int] | None = None
    act_num: int = 3
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    is_deployed: bool = False

    def setup(self) -> None:
        layer = functools.partial(
            recomputed(Layer, self.remat, static_argnums=(3,)),
            act_num=self.act_num,
            bn_group_size=self.bn_group_size,
            depthwise_impl=self.depthwise_impl,
            is_deployed=self.is_deployed,
            dtype=self.dtype,
        )
        stem_dim, *dims = (round(dim * self.width) for dim in (self.stem_dim, *self.stage_dims))
        self.stem = layer(stem_dim, stem_stride=self.stem_stride)
        self.stages = [
            layer(dim, pool=self._pool(stage) if index == 0 else None)
            for stage, (dim, depth) in enumerate(zip(dims, self.stage_depths, strict=True))
            for index in range(depth)
        ]
        self.classifier = Head(
            self.num_classes,
            self.dropout_rate,
            len(self.stages),
            self.bn_group_size,
            self.is_deployed,
            self.dtype,
            name="head",
        )
        if not self.is_deployed:
            wide = param_dtype(self.dtype)
            self.slope = self.variable("batch_stats", "slope", jnp.ones, (), wide)

    def _pool(self, stage: int) -> Literal["half"] | int | None:
        """How a stage's first layer pools."""
        if len(self.stage_dims) == 4 and stage == 0:
            return None
        return "half" if self.pooled_sizes is None else self.pooled_sizes[stage]

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the last map of each resolution, [B, H / s, W / s, dim] for s = 4, 8, 16, 32.

        The first is the stem's where no stage keeps its resolution. With adaptive pooling the maps
        have its sizes instead. Arguments are those of the call; maps have the compute dtype.
        """
        return self._stage_outputs(x, train, None)  # dropout is the classifier's

    def _stage_outputs(
        self, x: jax.Array, train: bool, noise: DropNoise | None
    ) -> tuple[jax.Array, ...]:
        check_images(x, self.smallest_image)
        x = self.stem(x.astype(self.dtype), self._slope(), train)
        maps = [x]
        for layer in self.stages:
            x = layer(x, self._slope(), train)
            if layer.pool is None:
                maps[-1] = x
            else:
                maps.append(x)
        return tuple(maps)

    def _classified(self, x: jax.Array, train: bool, noise: DropNoise | None) -> jax.Array:
        return self.classifier(x, self._slope(), noise, train)

    def _slope(self) -> jax.Array | float:
        return 1.0 if self.is_deployed else self.slope.value

    @nn.nowrap
    def deployed(self, variables: Any) -> tuple["VanillaNet", dict[str, Any]]:
        """Returns the merged network and its variables, which give the same logits.

        Args:
          variables: "params" and "batch_stats" of this network.

        Raises:
          UserError: The slope is not 1 yet: the two products of a layer are not one.
        """
        if self.is_deployed:
            return self, variables
        params, stats = variables["params"], variables["batch_stats"]
        slope = float(stats["slope"])
        if slope != 1:
            raise UserError(
                f"the activations have slope {slope:g}, and layers can be merged at slope 1 only; "
                "take weights from after schedule.slope_epochs epochs"
            )
        merged = {
            name: _merged_head(layer, stats[name])
            if name == "head"
            else _merged_layer(layer, stats[name])
            for name, layer in params.items()
        }
        dtype = np.asarray(params["head"]["fc2"]["kernel"]).dtype
        rounded = jax.tree.map(lambda array: array.astype(dtype), merged)
        return self.clone(is_deployed=True), {"params": rounded}


class Layer(nn.Module):
    """Product, norm, leaky ReLU, product, norm; pooling; the series activation.

    Attributes:
      dim: Channels of the result.
      pool: Max pooling between the products and the activation: to "half" of the resolution, or
        to maps of so many pixels a side; None does not.
      stem_stride: The first product is a convolution of 4×4 pixels with this stride; None: 1×1.

    The others are those of `VanillaNet`.
    """

    dim: int
    pool: Literal["half"] | int | None = None
    stem_stride: int | None = None
    act_num: int = 3
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, slope: jax.Array | float, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to [B, H', W', dim]. slope: [] float; no matter if merged."""
        norm = functools.partial(BatchNorm, self.bn_group_size, epsilon=EPSILON, dtype=self.dtype)
        if self.is_deployed:
            x = self._first(self.dim, "conv")(x)
        else:
            hidden = self.dim if self.stem_stride else x.shape[-1]
            x = norm(name="norm1")(self._first(hidden, "conv1")(x), train)
            x = leaky_relu(x, slope)
            x = norm(name="norm2")(dense(self.dim, self.dtype, "conv2")(x), train)
        if self.pool == "half":
            x = max_pool_2x2(x)
        elif self.pool is not None:
            x = adaptive_max_pool(x, (self.pool, self.pool))
        return SeriesActivation(
            self.act_num, self.bn_group_size, self.depthwise_impl, self.is_deployed, self.dtype,
            name="act",
        )(x, train)  # fmt: skip

    def _first(self, features: int, name: str) -> nn.Module:
        if self.stem_stride is None:
            return dense(features, self.dtype, name)
        overlaps = self.stem_stride < 4
        return patch_conv(features, 4, self.dtype, name, self.stem_stride, padding=int(overlaps))


class SeriesActivation(nn.Module):
    """ReLU, then a depthwise convolution that sums scaled neighbours, then BatchNorm.

    Section 3.2 with the code's reading of equation 6: the bias comes after the sum, from the norm.
    Attributes are those of `VanillaNet`.
    """

    act_num: int = 3
    bn_group_size: int = 0
    depthwise_impl: str = "auto"
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps x: [B, H, W, C] to the same shape."""
        C, side, wide = x.shape[-1], 2 * self.act_num + 1, param_dtype(self.dtype)
        kernel = self.param("kernel", nn.initializers.normal(0.02), (side, side, 1, C), wide)
        bias = self.param("bias", nn.initializers.zeros, (C,), wide) if self.is_deployed else None
        x = depthwise_conv(
            nn.relu(x),
            kernel.astype(self.dtype),
            None if bias is None else bias.astype(self.dtype),
            impl=self.depthwise_impl,
        )
        if self.is_deployed:
            return x
        return BatchNorm(self.bn_group_size, epsilon=EPSILON, dtype=self.dtype, name="norm")(
            x, train
        )


class Head(nn.Module):
    """Mean over the map, dropout, then a layer as before: two products with a leaky ReLU between.

    At least float32 throughout. `place` is the number after the last layer's, for the dropout mask;
    the other attributes are those of `VanillaNet`.
    """

    num_classes: int
    dropout_rate: float = 0.0
    place: int = 0
    bn_group_size: int = 0
    is_deployed: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, slope: jax.Array | float, noise: DropNoise | None, train: bool = False
    ) -> jax.Array:
        """Maps x: [B, h, w, dim] to logits [B, num_classes]."""
        wide = param_dtype(self.dtype)
        x = x.astype(wide).mean((1, 2))
        if noise is not None:
            x = dropout(x, noise, self.place, self.dropout_rate)
        if self.is_deployed:
            return dense(self.num_classes, wide, "fc")(x)
        x = dense(self.num_classes, wide, "fc1")(x)[:, None, None]
        x = BatchNorm(self.bn_group_size, epsilon=EPSILON, dtype=wide, name="norm")(x, train)
        return dense(self.num_classes, wide, "fc2")(leaky_relu(x[:, 0, 0], slope))


def leaky_relu(x: jax.Array, slope: jax.Array | float) -> jax.Array:
    """x where it is positive, else slope × x: ReLU at slope 0, nothing at slope 1."""
    return jnp.where(x > 0, x, (x * slope).astype(x.dtype))


def _merged_layer(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's two products and its activation without norms, float64."""
    first, second = (
        folding.fold_after(
            folding.widened(params[f"conv{i}"]),
            folding.norm_affine(params[f"norm{i}"], stats[f"norm{i}"], EPSILON),
        )
        for i in (1, 2)
    )
    act = params["act"]
    affine = folding.norm_affine(act["norm"], stats["act"]["norm"], EPSILON)
    kernel = folding.widened({"kernel": act["kernel"]})
    return {"conv": folding.merge(first, second), "act": folding.fold_after(kernel, affine)}


def _merged_head(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    affine = folding.norm_affine(params["norm"], stats["norm"], EPSILON)
    first = folding.fold_after(folding.widened(params["fc1"]), affine)
    return {"fc": folding.merge(first, folding.widened(params["fc2"]))}


_RELEASE = "https://github.com/huawei-noah/VanillaNet/releases/download/ckpt"
_DIMS = (512, 1024, 2048, 4096)


def _register(
    name: str,
    depths: tuple[int, ...],
    trained: tuple[int, int],
    deployed: tuple[int, int],
    top1: float,
    **settings: Any,
) -> None:
    """trained, deployed: parameters and multiply-accumulates of both forms."""
    about = ModelInfo(
        name=f"vanillanet_{name}",
        input_size=224,
        stage_depths=depths,
        params=trained[0],
        macs=trained[1],
        deploy_params=deployed[0],
        deploy_macs=deployed[1],
        crop_pct=0.95 if name.startswith(("12", "13")) else 0.875,
        top1=top1,
        top1_source="reported by the authors",
        weights_url=f"{_RELEASE}/vanillanet_{name}.pth",
        licence="mit",
    )
    dims = _DIMS[-len(depths) :]
    register_model(about, functools.partial(VanillaNet, stage_dims=dims, **settings))


_register("5", (1, 1, 1), (22_328_800, 8_450_519_616), (15_523_304, 5_161_185_280), 0.7249)
_register("6", (1, 1, 2), (56_116_704, 10_104_521_280), (32_509_416, 5_993_103_360), 0.7636)
_register("7", (1, 1, 1, 2), (56_670_176, 11_827_364_416), (32_797_672, 6_893_862_912), 0.7798)
_register("8", (1, 1, 2, 2), (65_175_520, 13_491_200_576), (37_096_424, 7_735_615_488), 0.7913)
_register("9", (1, 1, 3, 2), (73_680_864, 15_155_036_736), (41_395_176, 8_577_368_064), 0.7987)
_register("10", (1, 1, 4, 2), (82_186_208, 16_818_872_896), (45_693_928, 9_419_120_640), 0.8057)
_register("11", (1, 1, 5, 2), (90_691_552, 18_482_709_056), (49_992_680, 10_260_873_216), 0.8108)
_register("12", (1, 1, 6, 2), (99_196_896, 20_146_545_216), (54_291_432, 11_102_625_792), 0.8155)
_register("13", (1, 1, 7, 2), (107_702_240, 21_810_381_376), (58_590_184, 11_944_378_368), 0.8205)
_register(
    "13_x1_5",
    (1, 1, 7, 2),
    (236_942_048, 48_745_701_952),
    (127_796_200, 26_548_445_184),
    0.8253,
    width=1.5,
)
# The supplement has 40, 20 and 10; these are the sizes of the released code's network, whose
# multiply-accumulates are the printed ones.
_register(
    "13_x1_5_ada_pool",
    (1, 1, 7, 2),
    (236_942_048, 89_966_269_504),
    (127_796_200, 48_982_528_512),
    0.8311,
    width=1.5,
    stem_stride=3,
    pooled_sizes=(0, 38, 19, 10),
)
