"""VanillaNet (NeurIPS 2023): no shortcuts, no attention; depth 5 to 13, most of it in the width.

A layer is two products with a leaky ReLU between, whose slope training raises from 0 to 1, perhaps
a max pooling, and an activation that mixes each channel's neighbourhood. At slope 1 the two
products are one, so that the trained network is `deployed` with half of its layers.

The slope is the host variable "host"/"slope": training sets it before each update
(`schedule.slope_epochs`), so that weights are evaluated and saved together with the slope that they
were trained with. Its initial value is 1.
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
from inceptionnext_jax.models.family import LINEAR_HEAD, MLP_HEAD, Family
from inceptionnext_jax.models.layer_ids import by_pair, by_stage
from inceptionnext_jax.models.layers.conv import patch_conv
from inceptionnext_jax.models.layers.drop import DropNoise, dropout
from inceptionnext_jax.models.layers.linear import dense, param_dtype
from inceptionnext_jax.models.layers.norm import BatchNorm
from inceptionnext_jax.models.layers.pool import adaptive_max_pool, max_pool_2x2
from inceptionnext_jax.models.layers.remat import recomputed
from inceptionnext_jax.models.names import BATCH_NORM, CONV, POINTWISE, Rule
from inceptionnext_jax.models.network import Network, check_images
from inceptionnext_jax.models.registry import PYRAMID, ModelInfo, register_model
from inceptionnext_jax.ops.depthwise import depthwise_conv

EPSILON = 1e-6  # of every BatchNorm


class VanillaNet(Network):
    """Stem, stages of layers of one width and resolution, and a classifier.

    Attributes, beside those of `Network`, whose blocks are layers here:
      stem_dim: Channels of the stem at width 1.
      stage_dims: Channels per stage at width 1. Each stage begins with a pooling, except the first
        of four, which keeps the stem's resolution.
      width: Factor of all channels.
      stem_stride: Stride of the stem's windows of 4×4 pixels; below 4 they overlap.
      pooled_sizes: Height and width of each stage's maps by adaptive pooling, whatever the
        image's; None halves the resolution.
      act_num: Positions to each side that the activation sees (n in section 3.2).
      bn_group_size: Images that share training statistics; 0 is the whole batch.
      depthwise_impl: The implementation in `ops.depthwise`.
      is_deployed: Whether this is the deployed form: one product per layer, no norms, no slope.
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
            self.slope = self.variable("host", "slope", jnp.ones, (), wide)

    def _pool(self, stage: int) -> Literal["half"] | int | None:
        """Returns the pooling of a stage's first layer."""
        if len(self.stage_dims) == 4 and stage == 0:
            return None
        return "half" if self.pooled_sizes is None else self.pooled_sizes[stage]

    def features(
        self, x: jax.Array, train: bool = False, positions: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Returns the last map of each resolution, [B, H / s, W / s, dim] for s = 4, 8, 16, 32.

        The first is the stem's where no stage keeps its resolution. Adaptive pooling sets other
        sizes. Arguments are those of the call; maps have the compute dtype.
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
          variables: "params", "batch_stats" and "host" of this network.

        Raises:
          UserError: The slope is missing, or not 1 yet: the products of a layer are not one.
        """
        if self.is_deployed:
            return self, variables
        if "slope" not in variables.get("host", {}):
            raise UserError(
                f"variables hold {', '.join(variables) or 'nothing'}, but the slope of the "
                'activations is needed too; give {"params": …, "batch_stats": …, "host": …}'
            )
        params, stats = variables["params"], variables["batch_stats"]
        slope = float(variables["host"]["slope"])
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
        dtype = np.asarray(params["stem"]["conv1"]["kernel"]).dtype
        rounded = jax.tree.map(lambda array: array.astype(dtype), merged)
        return self.clone(is_deployed=True), {"params": rounded}


class Layer(nn.Module):
    """Product, norm, leaky ReLU, product, norm; pooling; the series activation.

    Attributes, beside those of `VanillaNet`:
      dim: Channels of the result.
      pool: Max pooling between the products and the activation: to "half" of the resolution, or
        to maps of this height and width; None for none.
      stem_stride: Stride of a convolution of 4×4 pixels as first product; None: 1×1.
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
        """Maps x: [B, H, W, C] to [B, H', W', dim]. slope: [] float; unused if merged."""
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

    At least float32 throughout. `drop_index` is the index of the dropout mask; the other attributes
    are those of `VanillaNet`.
    """

    num_classes: int
    dropout_rate: float = 0.0
    drop_index: int = 0
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
            x = dropout(x, noise, self.drop_index, self.dropout_rate)
        if self.is_deployed:
            return dense(self.num_classes, wide, "fc")(x)
        x = dense(self.num_classes, wide, "fc1")(x)[:, None, None]
        x = BatchNorm(self.bn_group_size, epsilon=EPSILON, dtype=wide, name="norm")(x, train)
        return dense(self.num_classes, wide, "fc2")(leaky_relu(x[:, 0, 0], slope))


def leaky_relu(x: jax.Array, slope: jax.Array | float) -> jax.Array:
    """Returns x where it is positive, else slope × x: ReLU at slope 0, the identity at slope 1."""
    return jnp.where(x > 0, x, (x * slope).astype(x.dtype))


def _merged_layer(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a layer's merged products and its activation without norms, float64."""
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


# The authors' names, in training and deployed.
_NAMES = (
    Rule(r"stem/conv1", r"stem1.0", CONV),
    Rule(r"stem/norm1", r"stem1.1", BATCH_NORM),
    Rule(r"stem/conv2", r"stem2.0", POINTWISE),
    Rule(r"stem/norm2", r"stem2.1", BATCH_NORM),
    Rule(r"stem/act", r"stem2.2", CONV),
    Rule(r"stem/act/norm", r"stem2.2.bn", BATCH_NORM),
    Rule(r"stages_(\d+)/conv(\d)", r"stages.\1.conv\2.0", POINTWISE),
    Rule(r"stages_(\d+)/norm(\d)", r"stages.\1.conv\2.1", BATCH_NORM),
    Rule(r"stages_(\d+)/act", r"stages.\1.act", CONV),
    Rule(r"stages_(\d+)/act/norm", r"stages.\1.act.bn", BATCH_NORM),
    Rule(r"head/fc1", r"cls1.2", POINTWISE),
    Rule(r"head/norm", r"cls1.3", BATCH_NORM),
    Rule(r"head/fc2", r"cls2.0", POINTWISE),
)
_DEPLOYED_NAMES = (
    Rule(r"stem/conv", r"stem.0", CONV),
    Rule(r"stem/act", r"stem.1", CONV),
    Rule(r"stages_(\d+)/conv", r"stages.\1.conv", POINTWISE),
    Rule(r"stages_(\d+)/act", r"stages.\1.act", CONV),
    Rule(r"head/fc", r"cls.2", POINTWISE),
)
_FAMILY = Family(
    (_NAMES,),
    implied={("host", "slope"): 1.0},
    classifier=MLP_HEAD,
    layer_ids=by_stage,
    layer_rules={"pair": by_pair},
    host_scalars=("slope",),
    deployed=Family((_DEPLOYED_NAMES,), classifier=LINEAR_HEAD),
)
_RELEASE = "https://github.com/huawei-noah/VanillaNet/releases/download/ckpt"
_DIMS = (512, 1024, 2048, 4096)


def _register(
    name: str,
    depths: tuple[int, ...],
    top1: float,
    **settings: Any,
) -> None:
    about = ModelInfo(
        name=f"vanillanet_{name}",
        input_size=224,
        stage_depths=depths,
        feature_strides=() if "pooled_sizes" in settings else PYRAMID,
        family=_FAMILY,
        crop_pct=0.95 if name.startswith(("12", "13")) else 0.875,
        top1=top1,
        top1_source="reported by the authors",
        weights_url=f"{_RELEASE}/vanillanet_{name}.pth",
        licence="mit",
    )
    dims = _DIMS[-len(depths) :]
    register_model(about, functools.partial(VanillaNet, stage_dims=dims, **settings))


_register("5", (1, 1, 1), 0.7249)
_register("6", (1, 1, 2), 0.7636)
_register("7", (1, 1, 1, 2), 0.7798)
_register("8", (1, 1, 2, 2), 0.7913)
_register("9", (1, 1, 3, 2), 0.7987)
_register("10", (1, 1, 4, 2), 0.8057)
_register("11", (1, 1, 5, 2), 0.8108)
_register("12", (1, 1, 6, 2), 0.8155)
_register("13", (1, 1, 7, 2), 0.8205)
_register(
    "13_x1_5",
    (1, 1, 7, 2),
    0.8253,
    width=1.5,
)
# The supplement has 40, 20 and 10; these are the sizes of the released code, whose network has the
# printed multiply-accumulates.
_register(
    "13_x1_5_ada_pool",
    (1, 1, 7, 2),
    0.8311,
    width=1.5,
    stem_stride=3,
    pooled_sizes=(0, 38, 19, 10),
)
