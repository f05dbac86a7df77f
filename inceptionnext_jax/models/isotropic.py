"""Isotropic networks: patches of 16 pixels, one stage, no downsampling, a linear head.

`convnext_*_iso` are those of ConvNeXt (section 3.3 there, after DeiT's sizes); as in the authors'
commands, only the large one has layer scale.

`inceptionnext_*_iso` (InceptionNeXt, table of isotropic networks) have no public code. They follow
ConvNeXt's: 18 blocks of an MLP ratio of 4, no norm in the stem, LayerNorm only in the head, no
layer scale. In the blocks is InceptionNeXt's own BatchNorm. The head is linear, for InceptionNeXt's
own would give other numbers of parameters than the printed ones.

`metanext_*_small_iso` put another token mixer into inceptionnext_small_iso. With attention
(MetaNeXt-Attn, same table) 12 blocks of 6 heads give the printed 22 M parameters and, with the
products of queries, keys and values, 4.6 G multiply-accumulates. The paper leaves open position
embeddings and class token: there are none, as in the others. The paper reports that it does not
train (3.9 %): attention is too much for a block of one residual.
"""

import functools
from typing import Any

from inceptionnext_jax.models.convnext import CONVNEXT
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.registry import ModelInfo, register_model

_ISOTROPIC = {"patch_size": 16, "stem_norm": False, "mlp_ratios": (4,), "head": "linear"}
_RELEASE = "https://dl.fbaipublicfiles.com/convnext"


def _register(
    name: str,
    depth: int,
    dim: int,
    params: int,
    macs: int,
    settings: dict[str, Any] | None = None,
    **info: Any,
) -> None:
    about = ModelInfo(
        name=name, input_size=224, stage_depths=(depth,), params=params, macs=macs, **info
    )
    settings = {"layer_scale_init": 0.0, **(settings or {}), **_ISOTROPIC, "stage_dims": (dim,)}
    register_model(about, functools.partial(MetaNeXt, **settings))


def _published(size: str, top1: float) -> dict[str, Any]:
    return {
        "top1": top1,
        "top1_source": "reported by the paper",
        "weights_url": f"{_RELEASE}/convnext_iso_{size}_1k_224_ema.pth",
        "licence": "mit",
    }


_register(
    "convnext_small_iso", 18, 384, 22_308_712, 4_286_367_744, CONVNEXT, **_published("small", 0.797)
)
_register(
    "convnext_base_iso", 18, 768, 87_083_752, 16_896_331_776, CONVNEXT, **_published("base", 0.820)
)
_register(
    "convnext_large_iso",
    36,
    1024,
    305_942_504,
    59_699_224_576,
    CONVNEXT | {"layer_scale_init": 1e-6},
    **_published("large", 0.826),
)

_PAPER: dict[str, Any] = {"top1_source": "reported by the paper"}
_register("inceptionnext_small_iso", 18, 384, 21_992_488, 4_225_234_560, top1=0.797, **_PAPER)
_register("inceptionnext_base_iso", 18, 768, 86_451_304, 16_774_065_408, top1=0.821, **_PAPER)

_register(
    "metanext_attn_small_iso",
    12,
    384,
    21_965_416,
    4_219_984_896,
    {"token_mixer": "attention"},
    top1=0.039,
    **_PAPER,
)
_register("metanext_pool_small_iso", 18, 384, 21_963_112, 4_219_984_896, {"token_mixer": "pool"})
_register(
    "metanext_identity_small_iso", 18, 384, 21_963_112, 4_219_984_896, {"token_mixer": "identity"}
)
