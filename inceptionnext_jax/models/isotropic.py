"""Isotropic networks: patches of 16 pixels, one stage, no downsampling, a linear head.

`convnext_*_iso` are those of ConvNeXt (section 3.3 there, after DeiT's sizes); as in the authors'
commands, only the large one has layer scale.

`inceptionnext_*_iso` (InceptionNeXt, table of isotropic networks) have no public code. They follow
ConvNeXt's: 18 blocks with an MLP ratio of 4, no norm in the stem, LayerNorm only in the head, no
layer scale. Blocks keep InceptionNeXt's BatchNorm. The head is linear, since InceptionNeXt's MLP
head would give other numbers of parameters than the printed ones.

`metanext_*_small_iso` put another token mixer into inceptionnext_small_iso. With attention
(MetaNeXt-Attn, same table) 12 blocks of 6 heads give the printed 22 M parameters and, with the
products of queries, keys and values, 4.6 G multiply-accumulates. The paper does not mention
position embeddings or a class token: there are none, as in the others. It reports that training
fails (3.9 %): attention is too much for a block of one residual.
"""

import functools
from typing import Any

from inceptionnext_jax.models.convnext import CONVNEXT, author_block_names
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.inceptionnext import NAMES as INCEPTIONNEXT_NAMES
from inceptionnext_jax.models.metanext import MetaNeXt
from inceptionnext_jax.models.names import CONV, Rule
from inceptionnext_jax.models.registry import ModelInfo, register_model

_ISOTROPIC = {"patch_size": 16, "stem_norm": False, "mlp_ratios": (4,), "head": "linear"}
_CONVNEXT_NAMES = (
    Rule(r"stem/conv", r"stem", CONV),
    *author_block_names(r"stages_0/blocks_(\d+)", r"blocks.\1"),
)
_CONVNEXT_FAMILY, _FAMILY = Family((_CONVNEXT_NAMES,)), Family((INCEPTIONNEXT_NAMES,))
_RELEASE = "https://dl.fbaipublicfiles.com/convnext"


def _register(
    name: str, depth: int, dim: int, settings: dict[str, Any] | None = None, **info: Any
) -> None:
    about = ModelInfo(
        name=name, input_size=224, stage_depths=(depth,), **({"family": _FAMILY} | info)
    )
    settings = {"layer_scale_init": 0.0, **(settings or {}), **_ISOTROPIC, "stage_dims": (dim,)}
    register_model(about, functools.partial(MetaNeXt, **settings))


def _published(size: str, top1: float) -> dict[str, Any]:
    return {
        "family": _CONVNEXT_FAMILY,
        "top1": top1,
        "top1_source": "reported by the paper",
        "weights_url": f"{_RELEASE}/convnext_iso_{size}_1k_224_ema.pth",
        "licence": "mit",
    }


_register("convnext_small_iso", 18, 384, CONVNEXT, **_published("small", 0.797))
_register("convnext_base_iso", 18, 768, CONVNEXT, **_published("base", 0.820))
_register(
    "convnext_large_iso",
    36,
    1024,
    CONVNEXT | {"layer_scale_init": 1e-6},
    **_published("large", 0.826),
)

_PAPER: dict[str, Any] = {"top1_source": "reported by the paper"}
_register("inceptionnext_small_iso", 18, 384, top1=0.797, **_PAPER)
_register("inceptionnext_base_iso", 18, 768, top1=0.821, **_PAPER)

_register("metanext_attn_small_iso", 12, 384, {"token_mixer": "attention"}, top1=0.039, **_PAPER)
_register("metanext_pool_small_iso", 18, 384, {"token_mixer": "pool"})
_register("metanext_identity_small_iso", 18, 384, {"token_mixer": "identity"})
